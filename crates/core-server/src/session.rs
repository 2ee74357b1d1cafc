//! A conversation without sockets: accepted messages, the running answer, and attached connections.
//!
//! A [`Session`] is live while a connection holds it or an answer is in progress; then it is evicted, so that
//! memory follows the people who are there. Its turns run one after another, from any of its connections, and
//! belong to the session: they must not end with a connection.

mod answering;
mod cluster_events;
mod continuous_use;
mod country;
mod help;
mod language;
mod lifecycle;
mod outbox;
mod registry;
mod replicas;
mod requests;
mod retention;
mod risk;
mod state;
#[cfg(test)]
mod tests;
mod upkeep;
mod watch;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::server_frame::{Entry, Finish, Role};
use protocol::trace::Traceparent;
use protocol::{
    Language, Locale, MessageId, MessageLabel, ResumeToken, ServerFrame, SessionId, Timestamp, UserLabel, UserText,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use help::known_country;
pub use outbox::Outbox;
pub use registry::{Opened, SessionLimits, Sessions};
pub use requests::RequestError;
use risk::BEYOND_LIMITS_PAUSE;
pub use risk::{PreSessionWatch, crisis_lines};

use answering::{done, is_gone, stored_done};
use cluster::SessionEvent;
use replicas::RemoteReplicas;
use state::{Listener, Pending, Recipients, Running, State, StoredMessage};
use store::{SessionRecord, StoreError};
use watch::Watch;

use crate::turn::{
    Admission, AnswerOwner, Message, MessageRejection, Outcome, PendingTurn, Permit, RecordError, TurnError,
};

/// Shortest interval between two checks for listeners of a running answer.
const LISTENERS_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Session {
    sessions: Arc<Sessions>,
    user: UserLabel,
    id: SessionId,
    /// Key of its record in the store.
    token: ResumeToken,
    created_at: Timestamp,
    /// Held from before an entry is stored until it is published, so that every connection gets entries in the order
    /// of their `seq`. Taken before `state`, never under it: it is held across store calls.
    commit: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Memory of risk. Fixed lock order: under `state` or alone, never `state` under it.
    watch: Mutex<Watch>,
    /// Notified when a turn ends or leaves the queue.
    turn_ended: Notify,
}

/// Identifies a connection within its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId(u64);

impl Session {
    /// `fresh`: the session was created by this call's connection, not resumed.
    fn new(sessions: Arc<Sessions>, record: SessionRecord, token: ResumeToken, fresh: bool) -> Self {
        let mut state = State::new(&record);
        let SessionRecord { user, id, created_at, .. } = record;
        state.replicas = sessions
            .turns()
            .cluster
            .as_ref()
            .map(|cluster| Box::new(RemoteReplicas::new(Arc::clone(cluster), user, fresh)));
        let watch = if fresh { Watch::of_new() } else { Watch::default() };
        Self {
            sessions,
            user,
            id,
            token,
            created_at,
            commit: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
            watch: Mutex::new(watch),
            turn_ended: Notify::new(),
        }
    }

    pub fn user(&self) -> UserLabel {
        self.user
    }

    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Returns the language of texts for the person.
    pub fn language(&self) -> Language {
        self.state().locale.language()
    }

    pub fn locale(&self) -> Locale {
        self.state().locale
    }

    /// Returns true if `record` has entries or a locale that this session lacks.
    fn is_outdated(&self, record: &SessionRecord) -> bool {
        let state = self.state();
        state.published.seq() < record.seq || (state.locale != record.locale && !state.is_locale_unsaved)
    }

    /// Returns true while a message is being admitted, waits or is answered.
    pub fn is_busy(&self) -> bool {
        let state = self.state();
        state.answering || 0 < state.admitting
    }

    /// Attaches `outbox`: it gets every later frame, and the answer in progress from its start. Returns the highest
    /// `seq` before that; `None` if the session is gone.
    pub fn attach(&self, outbox: Arc<Outbox>) -> Option<(ConnectionId, u64)> {
        let mut state = self.state();
        if state.is_gone() {
            return None;
        }
        let connection = ConnectionId(state.next_connection);
        state.next_connection += 1;
        state.push_in_flight(&outbox);
        state.connections.push(Listener { id: connection, outbox, half_closed: false });
        state.on_connections_changed();
        Some((connection, state.published.seq()))
    }

    /// Detaches a connection. Its messages are still answered.
    pub fn detach(&self, connection: ConnectionId) {
        let mut state = self.state();
        state.connections.retain(|listener| listener.id != connection);
        state.on_connections_changed();
    }

    /// Marks a connection whose client closed its sending side: it still receives, but may be gone for good.
    pub fn half_close(&self, connection: ConnectionId) {
        let mut state = self.state();
        state.connections.iter_mut().filter(|listener| listener.id == connection).for_each(|it| it.half_closed = true);
        state.on_connections_changed();
    }

    /// Admits a message of connection `from`, publishes the outcome, and starts or queues its answer.
    ///
    /// # Cancel safety
    ///
    /// Not safe: run it as a task of its own. It must outlive the connection, or a stored message stays unanswered.
    pub async fn submit(self: Arc<Self>, from: ConnectionId, message: Message) {
        self.state().admitting += 1;
        if message.risk.must_be_answered() {
            self.admit_in_risk().await;
        }
        // One admission at a time: the limits count messages in flight, and `seq` is published in order.
        let commit = self.commit.lock().await;
        let (after, in_flight) = {
            let mut state = self.state();
            if state.is_gone() {
                // Its connection was closed with the reason: no frame can follow.
                state.admitting -= 1;
                return;
            }
            if let Some(seq) = state.adopt_resubmission(&message.id, from) {
                state.admitting -= 1;
                return state.publish_accepted(from, &message, seq);
            }
            (state.published.seq(), state.in_flight())
        };
        self.save_language().await;
        self.save_country().await;
        let busy = self.sessions.limits().per_user_max <= in_flight;
        let admission = self.end_if_missing(self.sessions.turns().admit(self.user, after, &message, busy).await);
        match &admission {
            Ok(Admission::Accepted(entry, _)) => self.catch_up_before(entry.seq).await,
            Ok(Admission::Known(entries, _)) => self.catch_up_to_known(entries, (from, &message.id)).await,
            Ok(Admission::Rejected(_)) | Err(_) => {}
        }
        self.publish_admission(from, message, admission);
        self.save_help().await;
        drop(commit);
    }

    /// Publishes the outcome of an admission to the connections concerned.
    fn publish_admission(
        self: &Arc<Self>,
        from: ConnectionId,
        message: Message,
        admission: Result<Admission, StoreError>,
    ) {
        let mut state = self.state();
        state.admitting -= 1;
        match admission {
            Ok(Admission::Accepted(entry, owner)) => {
                self.sessions.turns().metrics.messages_accepted.inc();
                state.publish_accepted(from, &message, entry.seq);
                // Skipped if another core, to which it was resent, has published it already.
                if state.published.advance(entry.seq) {
                    state.messages += 1;
                    state.publish(Recipients::AllExcept(from), ServerFrame::Turn(entry.clone()));
                }
                self.answer_or_follow(&mut state, StoredMessage { from, message, seq: entry.seq }, owner);
            }
            Ok(Admission::Known(entries, owner)) => {
                let seq = with_role(&entries, Role::User).map_or(0, |entry| entry.seq);
                self.on_resubmitted(&mut state, StoredMessage { from, message, seq }, &entries, owner);
            }
            // Only the sender: a client that has resumed meanwhile resends the message and gets its own result.
            Ok(Admission::Rejected(rejection)) => self.reject(&state, Recipients::Only(from), message.id, rejection),
            Err(StoreError::NoSession { .. }) => {}
            Err(error) => {
                let rejection = record_failed(message.trace, &error.into());
                self.reject(&state, Recipients::Only(from), message.id, rejection);
            }
        }
    }

    /// Re-delivers the stored answer of a resubmitted message; without one the message is answered now, as the budget
    /// allowed.
    fn on_resubmitted(
        self: &Arc<Self>,
        state: &mut State,
        stored: StoredMessage,
        entries: &[Entry],
        owner: AnswerOwner,
    ) {
        let StoredMessage { from, message, seq } = stored;
        self.sessions.turns().metrics.messages_deduplicated.inc();
        state.publish_accepted(from, &message, seq);
        if let Some(answer) = with_role(entries, Role::Assistant) {
            // Only the requester needs the stored answer; a client that resumes gets it from the replay.
            state.publish(Recipients::Only(from), outbox::delta(message.id, 0, answer.text.clone()));
            state.publish(Recipients::Only(from), stored_done(answer));
        } else {
            let text = with_role(entries, Role::User).map_or_else(UserText::default, |entry| entry.text.clone());
            let message = Message { text, ..message };
            self.answer_or_follow(state, StoredMessage { from, message, seq }, owner);
        }
    }

    /// Answers a stored message here, or follows the core that holds its claim.
    fn answer_or_follow(self: &Arc<Self>, state: &mut State, stored: StoredMessage, owner: AnswerOwner) {
        match owner {
            AnswerOwner::ThisCore(permit) => self.enqueue(state, stored, permit),
            AnswerOwner::OtherCore => self.follow(state, stored),
        }
    }

    fn enqueue(self: &Arc<Self>, state: &mut State, stored: StoredMessage, permit: Permit) {
        let StoredMessage { from: sender, message, seq } = stored;
        let message_risk = self.message_risk(&message.id, &message.text);
        let turn = PendingTurn {
            id: message.id,
            label: MessageLabel { user: self.user, number: state.messages },
            seq,
            text: message.text,
            language: state.locale.language(),
            trace: message.trace,
            accepted_at: Instant::now(),
            claim: permit.claim,
            risk: message.risk,
            message_risk,
            emergency: state.whereabouts.emergency_number(),
            country: state.whereabouts.country,
        };
        if permit.is_beyond_limits() {
            self.sessions.turns().metrics.answers_beyond_limits.inc();
            state.beyond_limits_until = Some(Instant::now() + BEYOND_LIMITS_PAUSE);
        }
        if state.is_gone() {
            // Erased between the admission and this lock: release the claim, answer nothing.
            return self.release_later(turn, false);
        }
        state.waiting.push_back(Pending { turn, sender, permit });
        if !state.answering {
            state.answering = true;
            self.sessions.tasks().spawn(Arc::clone(self).answer_all());
        }
    }

    /// Worker task: answers one message after another until the queue is empty.
    async fn answer_all(self: Arc<Self>) {
        while let Some((turn, stop, permit)) = self.next_turn() {
            let mut outcome = {
                let mut answer = pin!(async {
                    if permit.is_behind_others {
                        stop.run_until_cancelled(self.wait_for_earlier_turns()).await;
                    }
                    self.sessions.turns().answer(&turn, permit, &*self, &stop).await
                });
                tokio::select! {
                    outcome = &mut answer => outcome,
                    () = self.until_abandoned() => {
                        stop.cancel();
                        answer.await
                    }
                }
            };
            let summary_job = outcome.as_mut().ok().and_then(|outcome| outcome.summary_job.take());
            self.conclude(turn, outcome).await;
            self.save_raised_help().await;
            if let Some(summary_job) = summary_job {
                let sessions = Arc::clone(&self.sessions);
                self.sessions.tasks().spawn(async move { sessions.turns().summarize(summary_job).await });
            }
        }
    }

    /// Waits until no connection, here or on another core, has listened for [`SessionLimits::abandoned_after`].
    async fn until_abandoned(&self) {
        let limit = self.sessions.limits().abandoned_after;
        loop {
            let wake = match self.state().abandoned_since {
                Some(since) if since + limit <= Instant::now() => return,
                Some(since) => since + limit,
                // A disconnect during the sleep resets the deadline, so check again after it. The floor keeps a limit of
                // 0 from spinning.
                None => Instant::now() + limit.max(LISTENERS_INTERVAL),
            };
            sleep_until(wake).await;
        }
    }

    fn next_turn(&self) -> Option<(PendingTurn, CancellationToken, Permit)> {
        self.turn_ended.notify_waiters();
        let mut state = self.state();
        let Some(Pending { turn, sender, permit }) = state.waiting.pop_front() else {
            state.answering = false;
            // Wakes connections that wait for an idle session to close (drain, half-close).
            state.wake();
            return None;
        };
        let stop = CancellationToken::new();
        state.running = Some(Running {
            id: turn.id.clone(),
            seq: turn.seq,
            claim: turn.claim,
            sender,
            draft: UserText::default(),
            chars: 0,
            ahead: 0,
            stop: stop.clone(),
            released: false,
            superseded: false,
        });
        Some((turn, stop, permit))
    }

    /// Stores the answer, releases the claim, then publishes `done`.
    async fn conclude(&self, turn: PendingTurn, outcome: Result<Outcome, TurnError>) {
        // Before `state` is read: no other task may store an entry between this `seq` and the publish of `done`.
        let _commit = self.commit.lock().await;
        let (after, draft) = {
            let state = self.state();
            let kept = state.running.as_ref().filter(|running| !running.superseded && !state.is_gone());
            (state.published.seq(), kept.map_or_else(UserText::default, |running| running.draft.clone()))
        };
        if !draft.is_empty() {
            self.watch_state().answered(&draft);
        }
        if let Ok(outcome) = &outcome {
            self.watch_state().note_exercise(outcome.exercise);
        }
        let (recorded, outcome) = match outcome {
            Ok(outcome) if draft.is_empty() => (Ok(None), Ok(outcome)),
            Ok(outcome) => (self.sessions.turns().record(&turn, after, draft, &outcome).await.map(Some), Ok(outcome)),
            Err(turn_error) => (Ok(None), Err(turn_error)),
        };
        if is_gone(&recorded, &outcome) {
            self.gone(0);
        }
        // Release the claim *before* publishing: a core that reacts to `done` must be able to claim.
        self.state().running.iter_mut().for_each(|running| running.released = true);
        let is_stopped = matches!((&recorded, &outcome), (Ok(None), Ok(outcome)) if outcome.finish == Finish::Stopped);
        let budget = &self.sessions.turns().budget;
        if is_stopped {
            budget.note_stopped(self.user, &turn.id);
        }
        budget.release(self.user, &turn.id, turn.claim, is_stopped).await;
        if let Ok(Some(seq)) = recorded {
            self.catch_up_before(seq).await;
        }
        let mut state = self.state();
        let Some(Running { sender, superseded: false, .. }) = state.running.take() else { return };
        match (recorded, outcome) {
            (Ok(seq), Ok(outcome)) => {
                state.published.skip_to(seq.unwrap_or_default());
                state.publish(Recipients::All, done(turn.id, seq, outcome));
            }
            // Its connections are closed: an operator need not act.
            _ if state.is_gone() => {}
            (Ok(_), Err(TurnError::NoSession)) => {}
            (Ok(_), Err(TurnError::Rejected(rejection))) => {
                self.reject(&state, state.recipients_of(sender), turn.id, rejection);
            }
            (Err(error), _) => {
                self.reject(&state, Recipients::All, turn.id, record_failed(turn.trace, &error));
            }
        }
    }

    /// Publishes and counts the rejection of message `id`; behind help lines, if a level is remembered.
    fn reject(&self, state: &State, to: Recipients, id: MessageId, rejection: MessageRejection) {
        self.sessions.turns().metrics.message_rejected(rejection.code);
        if let Some(support) = self.help_with_rejection(state, &id) {
            state.publish(to, ServerFrame::Support(Box::new(support)));
        }
        state.reject(to, id, rejection);
    }

    /// Stops the answer to message `id`, or removes the message from the queue. Returns true if it was in flight, here
    /// or on another core.
    pub async fn stop(&self, id: &MessageId) -> bool {
        if self.stop_here(&mut self.state(), id) {
            return true;
        }
        let Some(cluster) = &self.sessions.turns().cluster else { return false };
        let is_claimed = cluster.in_flight(self.user).await.is_some_and(|in_flight| in_flight.contains(id));
        if is_claimed {
            self.publish_to_cores(SessionEvent::Stop { id: id.clone() });
        }
        is_claimed
    }

    fn stop_here(&self, state: &mut State, id: &MessageId) -> bool {
        if let Some(running) = state.running.as_ref().filter(|running| running.id == *id) {
            running.stop.cancel();
            return true;
        }
        let Some(Pending { turn, .. }) = state.take_waiting(id) else { return false };
        self.release_later(turn.clone(), true);
        let outcome = self.sessions.turns().stopped_before_start(&turn);
        state.publish(Recipients::All, done(turn.id, None, outcome));
        true
    }

    /// Releases, in a task, the claim to a message that is not answered after all. `is_stopped`: the person stopped it.
    fn release_later(&self, turn: PendingTurn, is_stopped: bool) {
        let (sessions, user) = (Arc::clone(&self.sessions), self.user);
        if is_stopped {
            // Synchronously: the message may be resent before the task has run, and must count as stopped then.
            sessions.turns().budget.note_stopped(user, &turn.id);
        }
        if turn.claim.is_some() {
            let release = async move { sessions.turns().budget.release(user, &turn.id, turn.claim, is_stopped).await };
            self.sessions.tasks().spawn(release);
        }
    }

    /// Publishes `event` to the other cores, whether or not one is known to have the session live.
    fn publish_to_cores(&self, event: SessionEvent) {
        if let Some(replicas) = &self.state().replicas {
            replicas.publish(event);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Unsubscribe *before* deregistering: a session recreated in between must subscribe for itself, not lose its
        // subscription to this drop.
        self.state().replicas = None;
        self.sessions.evict(self.user);
    }
}

/// Logs that a message or its answer is not stored. Returns the rejection for its client.
fn record_failed(trace: Traceparent, error: &RecordError) -> MessageRejection {
    tracing::error!(trace_id = %trace.trace_id, %error, "failed to record answer");
    error.into()
}

fn with_role(entries: &[Entry], role: Role) -> Option<&Entry> {
    entries.iter().find(|entry| entry.role == role)
}
