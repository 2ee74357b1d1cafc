//! Starts the effects of a session. Nothing here waits: it runs under the session's lock.

use std::sync::Arc;

use protocol::ServerFrame;
use safety::Level;
use session::{Count, Delta, Effect, Recipients};

use super::live_session::{Cell, LiveSession};
use crate::turn::now;

impl LiveSession {
    pub(super) fn start(self: &Arc<Self>, cell: &mut Cell, effect: Effect) {
        match effect {
            Effect::Send(to, frame) => cell.send(to, frame),
            Effect::SendDelta(delta) => cell.send_delta(delta),
            Effect::Close(id, reason) => {
                if let Some(at) = cell.outboxes.iter().position(|(attached, _)| *attached == id) {
                    cell.outboxes.swap_remove(at).1.close(reason);
                }
            }
            Effect::Wake => cell.outboxes.iter().for_each(|(_, outbox)| outbox.wake()),
            Effect::Store(request) => self.spawn_store_request(request),
            Effect::StartTurn(turn) => self.spawn_turn(cell, turn),
            Effect::CancelTurn(id) => cell.turns.cancel(&id),
            Effect::RecordTurn { id, after } => cell.turns.record(&id, after),
            Effect::Release { id, is_stopped } => self.release(cell, &id, is_stopped),
            Effect::ReadClaims(query) => self.spawn_claims_query(query),
            Effect::ReadAnswer(query) => self.spawn_answer_query(query),
            Effect::Publish { event, revision } => {
                if let Some(cluster) = &self.sessions.turns().cluster {
                    cluster.publish(self.user(), event, revision);
                }
            }
            Effect::Complete(ticket, result) => {
                if let Some(at) = cell.calls.iter().position(|(waiting, _)| *waiting == ticket) {
                    // The caller may be gone.
                    let _ = cell.calls.swap_remove(at).1.send(result);
                }
            }
            Effect::Count(count) => self.count(count),
        }
    }

    fn count(&self, count: Count) {
        let turns = self.sessions.turns();
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

impl Cell {
    fn send(&self, to: Recipients, frame: ServerFrame) {
        let is_recipient = |id| match to {
            Recipients::All => true,
            Recipients::AllExcept(other) => id != other,
            Recipients::Only(wanted) => id == wanted,
        };
        let mut recipients = self.outboxes.iter().filter(|(id, _)| is_recipient(*id)).map(|(_, outbox)| outbox);
        // The last one gets the frame without a clone: most sessions have one connection.
        if let Some(mut outbox) = recipients.next() {
            for next in recipients {
                std::mem::replace(&mut outbox, next).push(frame.clone());
            }
            outbox.push(frame);
        }
    }

    fn send_delta(&self, delta: Delta) {
        if let Some(((_, last), others)) = self.outboxes.split_last() {
            others.iter().for_each(|(_, outbox)| outbox.push_delta(delta.clone()));
            last.push_delta(delta);
        }
    }
}
