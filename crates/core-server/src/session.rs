//! A conversation as a state machine without sockets: what is accepted, what runs, who listens.
//!
//! A [`Session`] is live while a connection holds it or an answer is under way, then it is let
//! go: memory follows live people. Its turns run one after another, whichever connection sent
//! them, and belong to the session: a connection that ends does not end them.

mod answering;
mod continuous_use;
mod elsewhere;
mod hearing;
mod help;
mod language;
mod life;
mod outbox;
mod registry;
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
pub use registry::{Opened, Policy, Sessions};
pub use requests::RequestError;
use risk::BEYOND_LIMITS_PAUSE;
pub use risk::{LoneWatch, crisis_lines};

use answering::{done, stored_done};
use elsewhere::Elsewhere;
use state::{Listener, Pending, Running, State, To};
use watch::Watch;

use crate::cluster::SessionEvent;
use crate::store::{SessionRecord, StoreError};
use crate::turn::{Admission, Answerer, Job, Message, NotRecorded, Outcome, Permit, Refusal, Unanswered};

/// Least time between two checks whether a running answer still has listeners.
const LISTENERS_INTERVAL: Duration = Duration::from_secs(1);

/// A live conversation.
#[derive(Debug)]
pub struct Session {
    sessions: Arc<Sessions>,
    user: UserLabel,
    id: SessionId,
    /// Finds its record again.
    token: ResumeToken,
    created_at: Timestamp,
    /// Held while an entry is stored and told about, so that everyone hears of entries in
    /// the order of their `seq`.
    commit: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// What is remembered of risk. Locked under the state or alone, never the other way round.
    watch: Mutex<Watch>,
    /// A message has ended that waited or was answered.
    moved_on: Notify,
}

/// Tells the connections of a session apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId(u64);

impl Session {
    /// `fresh`: the session has just begun.
    fn new(sessions: Arc<Sessions>, record: SessionRecord, token: ResumeToken, fresh: bool) -> Self {
        let mut state = State::new(&record);
        let SessionRecord { user, id, created_at, .. } = record;
        state.elsewhere = sessions
            .engine()
            .cluster
            .as_ref()
            .map(|cluster| Box::new(Elsewhere::new(Arc::clone(cluster), user, fresh)));
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
            moved_on: Notify::new(),
        }
    }

    /// The person's label.
    pub fn user(&self) -> UserLabel {
        self.user
    }

    /// The session's public id.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The language to speak.
    pub fn language(&self) -> Language {
        self.state().locale.language()
    }

    /// The locale answered in.
    pub fn locale(&self) -> Locale {
        self.state().locale
    }

    /// Whether the store knew more of the session when it gave `record`.
    fn is_behind(&self, record: &SessionRecord) -> bool {
        let state = self.state();
        state.told.seq() < record.seq || (state.locale != record.locale && !state.is_locale_unsaved)
    }

    /// Whether a message is under way.
    pub fn is_busy(&self) -> bool {
        let state = self.state();
        state.answering || 0 < state.admitting
    }

    /// Lets `outbox` hear what happens from now on, the answer under way from its start.
    /// Returns the highest `seq` before that; `None` if the session is gone.
    pub fn attach(&self, outbox: Arc<Outbox>) -> Option<(ConnectionId, u64)> {
        let mut state = self.state();
        if state.is_gone() {
            return None;
        }
        let connection = ConnectionId(state.next_connection);
        state.next_connection += 1;
        state.tell_under_way(&outbox);
        state.connections.push(Listener { id: connection, outbox, half_closed: false });
        state.count_listeners();
        Some((connection, state.told.seq()))
    }

    /// Forgets a connection. What it sent goes on.
    pub fn detach(&self, connection: ConnectionId) {
        let mut state = self.state();
        state.connections.retain(|listener| listener.id != connection);
        state.count_listeners();
    }

    /// The client of a connection closed its sending side: it hears on, but may be gone for good.
    pub fn half_close(&self, connection: ConnectionId) {
        let mut state = self.state();
        state.connections.iter_mut().filter(|listener| listener.id == connection).for_each(|it| it.half_closed = true);
        state.count_listeners();
    }

    /// Takes a message of connection `from`: everyone concerned is told what becomes of it.
    /// To be run as a task of its own: it goes on when the connection ends.
    pub async fn submit(self: Arc<Self>, from: ConnectionId, message: Message) {
        self.state().admitting += 1;
        if message.risk.is_high() {
            self.admit_in_risk().await;
        }
        let commit = self.commit.lock().await;
        let (after, under_way) = {
            let mut state = self.state();
            if state.is_gone() {
                // Its connection was closed, which is all there is to say.
                state.admitting -= 1;
                return;
            }
            if let Some(seq) = state.sent_again(&message.id, from) {
                state.admitting -= 1;
                return state.tell_accepted(from, &message, seq);
            }
            (state.told.seq(), state.under_way())
        };
        self.save_language().await;
        let busy = self.sessions.policy().per_user_max <= under_way;
        let admission = self.found(self.sessions.engine().admit(self.user, after, &message, busy).await);
        match &admission {
            Ok(Admission::Accepted(entry, _)) => self.learn_before(entry.seq).await,
            Ok(Admission::Known(entries, _)) => self.learn_known(entries, (from, &message.id)).await,
            Ok(Admission::Refused(_)) | Err(_) => {}
        }
        self.tell_admission(from, message, admission);
        self.save_help().await;
        drop(commit);
    }

    /// Tells everyone concerned what becomes of a message.
    fn tell_admission(
        self: &Arc<Self>,
        from: ConnectionId,
        message: Message,
        admission: Result<Admission, StoreError>,
    ) {
        let mut state = self.state();
        state.admitting -= 1;
        match admission {
            Ok(Admission::Accepted(entry, answerer)) => {
                self.sessions.engine().metrics.messages_accepted.inc();
                state.tell_accepted(from, &message, entry.seq);
                // Unless another core, where it was sent again, has told of it already.
                if state.told.next(entry.seq) {
                    state.messages += 1;
                    state.publish(To::EveryoneBut(from), ServerFrame::Turn(entry.clone()));
                }
                self.answer_or_follow(&mut state, (from, answerer), message, entry.seq);
            }
            Ok(Admission::Known(entries, answerer)) => self.repeated(&mut state, from, message, (entries, answerer)),
            // Whoever has resumed meanwhile sends it again, and hears what becomes of it then.
            Ok(Admission::Refused(refusal)) => self.refuse(&state, To::Only(from), message.id, refusal),
            Err(StoreError::NoSession { .. }) => {}
            Err(error) => self.not_kept(&state, To::Only(from), (message.id, message.trace), &error.into()),
        }
    }

    /// A message that was stored before gets its answer again; if there is none and none is
    /// coming from here it is answered now, as the budget allowed.
    fn repeated(
        self: &Arc<Self>,
        state: &mut State,
        from: ConnectionId,
        message: Message,
        (entries, answerer): (Vec<Entry>, Answerer),
    ) {
        let first = entries.iter().find(|entry| entry.role == Role::User);
        let seq = first.map_or(0, |entry| entry.seq);
        let answer = entries.iter().find(|entry| entry.role == Role::Assistant);
        self.sessions.engine().metrics.messages_deduplicated.inc();
        state.tell_accepted(from, &message, seq);
        if let Some(answer) = answer {
            // Nobody else asked for it, also if the sender is gone: who resumes has it, or asks again.
            state.publish(To::Only(from), outbox::delta(message.id, 0, answer.text.clone()));
            state.publish(To::Only(from), stored_done(answer));
        } else {
            let text = first.map_or_else(UserText::default, |entry| entry.text.clone());
            self.answer_or_follow(state, (from, answerer), Message { text, ..message }, seq);
        }
    }

    /// A message that connection `from` sent is stored: it is answered here, or by the core that has it.
    fn answer_or_follow(
        self: &Arc<Self>,
        state: &mut State,
        (from, answerer): (ConnectionId, Answerer),
        message: Message,
        seq: u64,
    ) {
        match answerer {
            Answerer::Here(permit) => self.enqueue(state, (from, permit), message, seq),
            Answerer::Elsewhere => self.follow(state, from, message, seq),
        }
    }

    fn enqueue(
        self: &Arc<Self>,
        state: &mut State,
        (sender, permit): (ConnectionId, Permit),
        message: Message,
        seq: u64,
    ) {
        let message_risk = self.message_risk(&message.id, &message.text);
        let job = Job {
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
        };
        if permit.is_beyond_limits() {
            self.sessions.engine().metrics.answers_beyond_limits.inc();
            state.beyond_limits_until = Some(Instant::now() + BEYOND_LIMITS_PAUSE);
        }
        if state.is_gone() {
            // Erased between its admission and this lock: there is nothing to answer.
            return self.release_later(job, false);
        }
        state.waiting.push_back(Pending { job, sender, permit });
        if !state.answering {
            state.answering = true;
            self.sessions.tasks().spawn(Arc::clone(self).answer_all());
        }
    }

    /// Answers one message after another until none waits.
    async fn answer_all(self: Arc<Self>) {
        while let Some((job, stop, permit)) = self.next_job() {
            let mut outcome = {
                let mut answer = pin!(async {
                    if permit.in_turn {
                        stop.run_until_cancelled(self.our_turn()).await;
                    }
                    self.sessions.engine().answer(&job, permit, &*self, &stop).await
                });
                tokio::select! {
                    outcome = &mut answer => outcome,
                    () = self.orphaned() => {
                        stop.cancel();
                        answer.await
                    }
                }
            };
            let fold = outcome.as_mut().ok().and_then(|outcome| outcome.fold.take());
            self.conclude(job, outcome).await;
            self.save_raised_help().await;
            if let Some(fold) = fold {
                let sessions = Arc::clone(&self.sessions);
                self.sessions.tasks().spawn(async move { sessions.engine().fold(fold).await });
            }
        }
    }

    /// Waits until nobody has listened for the orphan limit.
    async fn orphaned(&self) {
        let limit = self.sessions.policy().orphan;
        loop {
            let wake = match self.state().deserted_since {
                Some(since) if since + limit <= Instant::now() => return,
                Some(since) => since + limit,
                // A client that leaves during the sleep has been gone for less than the limit when we
                // look again. The floor keeps a limit of 0 from spinning.
                None => Instant::now() + limit.max(LISTENERS_INTERVAL),
            };
            sleep_until(wake).await;
        }
    }

    fn next_job(&self) -> Option<(Job, CancellationToken, Permit)> {
        self.moved_on.notify_waiters();
        let mut state = self.state();
        let Some(Pending { job, sender, permit }) = state.waiting.pop_front() else {
            state.answering = false;
            // Connections that wait for the session to be idle (drain, half-close) look again.
            state.wake();
            return None;
        };
        let stop = CancellationToken::new();
        state.running = Some(Running {
            id: job.id.clone(),
            seq: job.seq,
            claim: job.claim,
            sender,
            draft: UserText::default(),
            chars: 0,
            ahead: 0,
            stop: stop.clone(),
            released: false,
            given_up: false,
        });
        Some((job, stop, permit))
    }

    /// Stores the answer and tells everyone that it is complete.
    async fn conclude(&self, job: Job, outcome: Result<Outcome, Unanswered>) {
        let _commit = self.commit.lock().await;
        let (after, draft) = {
            let state = self.state();
            let kept = state.running.as_ref().filter(|running| !running.given_up && !state.is_gone());
            (state.told.seq(), kept.map_or_else(UserText::default, |running| running.draft.clone()))
        };
        if !draft.is_empty() {
            self.watch_state().answered(&draft);
        }
        let (recorded, outcome) = match outcome {
            Ok(outcome) if draft.is_empty() => (Ok(None), Ok(outcome)),
            Ok(outcome) => (self.sessions.engine().record(&job, after, draft, &outcome).await.map(Some), Ok(outcome)),
            Err(unanswered) => (Ok(None), Err(unanswered)),
        };
        if is_gone(&recorded, &outcome) {
            self.gone(0);
        }
        // Before it is told: who hears that this one has ended finds its claim gone.
        self.state().running.iter_mut().for_each(|running| running.released = true);
        let is_stopped = matches!((&recorded, &outcome), (Ok(None), Ok(outcome)) if outcome.finish == Finish::Stopped);
        let budget = &self.sessions.engine().budget;
        if is_stopped {
            budget.note_stopped(self.user, &job.id);
        }
        budget.release(self.user, &job.id, job.claim, is_stopped).await;
        if let Ok(Some(seq)) = recorded {
            self.learn_before(seq).await;
        }
        let mut state = self.state();
        let Some(Running { sender, given_up: false, .. }) = state.running.take() else { return };
        match (recorded, outcome) {
            (Ok(seq), Ok(outcome)) => {
                state.told.settle(seq.unwrap_or_default());
                state.publish(To::Everyone, done(job.id, seq, outcome));
            }
            // Its connections are closed: this is no error for an operator.
            _ if state.is_gone() => {}
            (Ok(_), Err(Unanswered::NoSession)) => {}
            (Ok(_), Err(Unanswered::Refused(refusal))) => {
                self.refuse(&state, state.concerned(sender), job.id, refusal);
            }
            (Err(error), _) => self.not_kept(&state, To::Everyone, (job.id, job.trace), &error),
        }
    }

    /// Tells that message `id` gets no answer now.
    fn refuse(&self, state: &State, to: To, id: MessageId, refusal: Refusal) {
        self.sessions.engine().metrics.message_rejected(refusal.code);
        state.refuse(to, id, refusal);
    }

    fn not_kept(&self, state: &State, to: To, (id, trace): (MessageId, Traceparent), error: &NotRecorded) {
        tracing::error!(trace_id = %trace.trace_id, %error, "the message has no answer, or one that is not kept");
        self.refuse(state, to, id, error.into());
    }

    /// Ends the answer to message `id`, or takes it out of the queue. Says whether there was one,
    /// here or on another core.
    pub async fn stop(&self, id: &MessageId) -> bool {
        if self.stop_here(&mut self.state(), id) {
            return true;
        }
        let Some(cluster) = &self.sessions.engine().cluster else { return false };
        let is_claimed = cluster.in_flight(self.user).await.is_some_and(|under_way| under_way.contains(id));
        if is_claimed {
            self.tell_others(SessionEvent::Stop { id: id.clone() });
        }
        is_claimed
    }

    fn stop_here(&self, state: &mut State, id: &MessageId) -> bool {
        if let Some(running) = state.running.as_ref().filter(|running| running.id == *id) {
            running.stop.cancel();
            return true;
        }
        let Some(Pending { job, .. }) = state.take_waiting(id) else { return false };
        self.release_later(job.clone(), true);
        let outcome = self.sessions.engine().not_begun(&job);
        state.publish(To::Everyone, done(job.id, None, outcome));
        true
    }

    /// Gives back the claim to a message that is not answered after all. `is_stopped`: the person
    /// stopped it.
    fn release_later(&self, job: Job, is_stopped: bool) {
        let (sessions, user) = (Arc::clone(&self.sessions), self.user);
        if is_stopped {
            // At once: the message may be sent again before the task has run.
            sessions.engine().budget.note_stopped(user, &job.id);
        }
        if job.claim.is_some() {
            let release = async move { sessions.engine().budget.release(user, &job.id, job.claim, is_stopped).await };
            self.sessions.tasks().spawn(release);
        }
    }

    /// Tells the other cores on which the session is live.
    fn tell_others(&self, event: SessionEvent) {
        if let Some(elsewhere) = &self.state().elsewhere {
            elsewhere.tell(event);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // First: one that is made anew joins the other cores again.
        self.state().elsewhere = None;
        self.sessions.let_go(self.user);
    }
}

/// Whether a turn has ended because the store has no session any more.
fn is_gone(recorded: &Result<Option<u64>, NotRecorded>, outcome: &Result<Outcome, Unanswered>) -> bool {
    matches!(recorded, Err(NotRecorded::Store(StoreError::NoSession { .. })))
        || matches!(outcome, Err(Unanswered::NoSession))
}
