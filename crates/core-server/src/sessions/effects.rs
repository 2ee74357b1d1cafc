//! Starts the effects of a session. Nothing here waits: it runs under the session's lock.

use std::sync::Arc;

use protocol::{CloseReason, MessageId, ServerFrame};
use safety::Level;
use session::{Completed, ConnectionId, Count, Delta, Effect, Failure, Recipients, Ticket, Turn};

use super::live_session::{Cell, LiveSession};
use super::store_requests::StoreTask;
use super::turn_task::TurnTask;
use crate::turn::now;

/// Starts effects: on the owner's state, or in a task.
#[derive(Debug)]
pub(super) struct Starter<'a> {
    session: &'a Arc<LiveSession>,
    cell: &'a mut Cell,
    /// Frames were queued that the connections do not know of yet.
    wakes_connections: bool,
}

impl<'a> Starter<'a> {
    pub(super) fn new(session: &'a Arc<LiveSession>, cell: &'a mut Cell) -> Self {
        Self { session, cell, wakes_connections: false }
    }

    /// Starts all effects of the last input, in their order.
    pub(super) fn start_all(mut self) {
        let mut effects = std::mem::take(&mut self.cell.effects);
        effects.drain(..).for_each(|effect| self.start(effect));
        if self.wakes_connections {
            // Once for all frames: each time a connection's task passes its loop.
            self.cell.outboxes.iter().for_each(|(_, outbox)| outbox.wake());
        }
        if self.cell.session.is_busy() {
            // Kept for the next delta. An idle session keeps no buffer.
            self.cell.effects = effects;
        }
    }

    fn start(&mut self, effect: Effect) {
        match effect {
            Effect::Send(to, frame) => self.send(to, frame),
            Effect::SendDelta(delta) => self.send_delta(delta),
            Effect::Close(id, reason) => self.close(id, reason),
            Effect::Wake => self.wakes_connections = true,
            Effect::Store(request) => StoreTask::of(self.session).spawn(request),
            Effect::StartTurn(turn) => self.start_turn(turn),
            Effect::CancelTurn(id) => self.cell.turns.cancel(&id),
            Effect::RecordTurn { id, after } => self.cell.turns.record(&id, after),
            Effect::Release { id, is_stopped } => self.release(id, is_stopped),
            Effect::ReadClaims(query) => StoreTask::of(self.session).spawn_claims_query(query),
            Effect::ReadAnswer(query) => StoreTask::of(self.session).spawn_answer_query(query),
            Effect::Publish { event, revision } => {
                if let Some(cluster) = self.session.cluster() {
                    cluster.publish(self.session.user(), event, revision);
                }
            }
            Effect::Complete(ticket, result) => self.complete(ticket, result),
            Effect::Count(count) => self.count(count),
        }
    }

    // ---- connections ------------------------------------------------------------------------

    fn send(&mut self, to: Recipients, frame: ServerFrame) {
        let is_recipient = |id| match to {
            Recipients::All => true,
            Recipients::AllExcept(other) => id != other,
            Recipients::Only(wanted) => id == wanted,
        };
        let mut recipients = self.cell.outboxes.iter().filter(|(id, _)| is_recipient(*id)).map(|(_, outbox)| outbox);
        // The last one gets the frame without a clone: most sessions have one connection.
        if let Some(mut outbox) = recipients.next() {
            for next in recipients {
                std::mem::replace(&mut outbox, next).queue(frame.clone());
            }
            outbox.queue(frame);
            self.wakes_connections = true;
        }
    }

    fn send_delta(&mut self, delta: Delta) {
        if let Some(((_, last), others)) = self.cell.outboxes.split_last() {
            others.iter().for_each(|(_, outbox)| outbox.queue_delta(delta.clone()));
            last.queue_delta(delta);
            self.wakes_connections = true;
        }
    }

    fn close(&mut self, id: ConnectionId, reason: CloseReason) {
        if let Some(at) = self.cell.outboxes.iter().position(|(attached, _)| *attached == id) {
            self.cell.outboxes.swap_remove(at).1.close(reason);
        }
    }

    // ---- calls and turns --------------------------------------------------------------------

    fn complete(&mut self, ticket: Ticket, result: Result<Completed, Failure>) {
        if let Ok(Completed::Rotated(token)) = &result {
            self.cell.token = token.clone();
        }
        if let Some(at) = self.cell.calls.iter().position(|(waiting, _)| *waiting == ticket) {
            // The caller may be gone.
            let _ = self.cell.calls.swap_remove(at).1.send(result);
        }
    }

    fn start_turn(&mut self, turn: Box<Turn>) {
        let Some((permit, control)) = self.cell.turns.run(&turn.message.id) else {
            debug_assert!(false, "a turn without a permit");
            return;
        };
        TurnTask { session: Arc::clone(self.session), turn, permit, control }.spawn();
    }

    /// Releases, in a task, the claim to a message that is not answered here after all.
    fn release(&mut self, id: MessageId, is_stopped: bool) {
        let claim = self.cell.turns.remove(&id);
        let (sessions, user) = (Arc::clone(&self.session.sessions), self.session.user());
        if is_stopped {
            // Synchronously: the message may be resubmitted before the task has run, and must count as stopped then.
            sessions.turns().budget.note_stopped(user, &id);
        }
        if claim.is_some() {
            let release = async move { sessions.turns().budget.release(user, &id, claim, is_stopped).await };
            self.session.sessions.tasks().spawn(release);
        }
    }

    // ---- metrics ----------------------------------------------------------------------------

    fn count(&self, count: Count) {
        let turns = self.session.sessions.turns();
        let metrics = &turns.metrics;
        match count {
            Count::Accepted => metrics.messages_accepted.inc(),
            Count::Deduplicated => metrics.messages_deduplicated.inc(),
            Count::Rejected(code) => metrics.message_rejected(code),
            Count::BeyondLimits => metrics.answers_beyond_limits.inc(),
            Count::Unstarted(turn) => turns.observe_unstarted(&turn),
            Count::HelpShown(need, language) => {
                metrics.help_shown(need.level);
                turns.referrals.note(now(), need.kinds.most_urgent(), need.level.max(Level::Concern), language);
            }
        }
    }
}
