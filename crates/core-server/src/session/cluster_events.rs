//! Handles cluster events, and catches up from the store when events were missed.
//!
//! Publish/subscribe of Redis drops events during a disconnect. The store is the truth: every gap in `seq`, every
//! new subscription and every new core leads to a catch-up.

use std::sync::Arc;
use std::time::Duration;

use cluster::{ClusterEvent, CoreId, Envelope, SessionEvent};
use protocol::server_frame::{Entry, ErrorFrame, Role};
use protocol::{CloseReason, MessageId, ServerFrame, UserLabel, UserText};
use store::StoreError;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::replicas::{Delta, RemoteDraft, RemoteReplicas};
use super::state::{Pending, Recipients, State, StoredMessage};
use super::{ConnectionId, Session, Sessions, outbox, stored_done};
use crate::turn::{Attempt, AttemptKind, MessageRejection};

/// Interval of the check for dead cores; [`RemoteReplicas::tick`] counts in it.
const REPLICA_TICK_INTERVAL: Duration = Duration::from_secs(15);
/// Interval at which a claim of another core is polled. A core that dies publishes nothing.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Entries per store read of a catch-up.
const CATCH_UP_PAGE_ENTRIES: usize = 200;
/// Sessions that catch up at once after a reconnect: all live ones would stampede the database.
const MAX_CONCURRENT_CATCH_UPS: usize = 8;

/// A delta of another core's answer; `offset` counts characters.
struct ReceivedDelta {
    id: MessageId,
    offset: usize,
    text: UserText,
}

impl Sessions {
    /// Handles cluster events until their channel closes.
    pub async fn run_cluster_events(self: Arc<Self>, mut events: mpsc::Receiver<ClusterEvent>) {
        let catch_ups = Arc::new(Semaphore::new(MAX_CONCURRENT_CATCH_UPS));
        let mut ticks = interval(REPLICA_TICK_INTERVAL);
        // Delay: a burst of ticks after a stall would expire every core before its queued events are read.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                // Events first: a tick must not expire a core whose event is queued.
                biased;
                event = events.recv() => event,
                _ = ticks.tick() => {
                    self.tick();
                    continue;
                }
            };
            let Some(event) = event else { return };
            match event {
                ClusterEvent::Connected => drop(self.tasks().spawn(Arc::clone(&self).reclaim_all())),
                ClusterEvent::Subscribed(user) => {
                    if let Some(session) = self.live_session_of(user).filter(|session| session.state().on_subscribed())
                    {
                        let catch_ups = Arc::clone(&catch_ups);
                        self.tasks().spawn(async move {
                            let _permit = catch_ups.acquire().await;
                            session.catch_up_or_close().await;
                        });
                    }
                }
                ClusterEvent::Published(user, payload) => self.on_published(user, &payload),
                ClusterEvent::NoSubscribers(user, revision) => {
                    if let Some(session) = self.live_session_of(user) {
                        session.state().update_replicas(|replicas, _| replicas.on_no_subscribers(revision));
                    }
                }
            }
        }
    }

    fn tick(&self) {
        for user in self.users() {
            if let Some(session) = self.live_session_of(user) {
                session.state().update_replicas(RemoteReplicas::tick);
            }
        }
    }

    fn on_published(&self, user: UserLabel, payload: &[u8]) {
        let Some(session) = self.live_session_of(user) else { return };
        match Envelope::decode(payload) {
            Ok(Envelope { core, event }) if !self.turns().is_own_core(core) => session.on_event(core, event),
            Ok(_) => {}
            Err(error) => tracing::warn!(%user, %error, "malformed cluster event"),
        }
    }

    /// Claims every turn in flight again under this core's new id, and restores the rate windows: Redis may have been
    /// restarted empty.
    async fn reclaim_all(self: Arc<Self>) {
        let budget = &self.turns().budget;
        budget.restore_windows().await;
        for user in self.users() {
            let Some(session) = self.live_session_of(user) else { continue };
            let claims = session.state().in_flight_claims();
            for claim in claims {
                budget.reclaim(user, &claim.0, claim.1).await;
                // The turn may have ended during the claim: its own release came too early then.
                if !session.state().in_flight_claims().contains(&claim) {
                    budget.release(user, &claim.0, claim.1, false).await;
                }
            }
        }
    }
}

impl Session {
    /// Handles an event of `core`.
    pub(super) fn on_event(self: &Arc<Self>, core: CoreId, event: SessionEvent) {
        let mut state = self.state();
        let connections = state.connections.len();
        let Some(replicas) = &mut state.replicas else { return };
        let is_new = replicas.on_event_from(core, event.connections());
        if is_new {
            // Its events before this subscription were missed.
            self.spawn_catch_up();
        }
        let is_hello = matches!(event, SessionEvent::Hello { .. });
        if is_new || is_hello {
            replicas.publish_connections(connections);
        }
        state.update_abandoned_since();
        match event {
            SessionEvent::Hello { .. } => state.publish_draft(),
            SessionEvent::Here { .. } => {}
            SessionEvent::Frame(frame) => self.on_frame(&mut state, core, *frame),
            SessionEvent::Stop { id } => drop(self.stop_here(&mut state, &id)),
            SessionEvent::Locale { locale } => state.choose(locale),
            SessionEvent::Country { country } => state.whereabouts.country = Some(country),
            SessionEvent::Erased => drop(self.end(&mut state, 0)),
        }
    }

    fn on_frame(self: &Arc<Self>, state: &mut State, core: CoreId, frame: ServerFrame) {
        match frame {
            ServerFrame::Turn(entry) if entry.seq <= state.published.seq() => {}
            ServerFrame::Turn(entry) if entry.seq == state.published.seq() + 1 => self.apply_entry(state, entry, None),
            ServerFrame::Turn(_) => self.spawn_catch_up(),
            ServerFrame::Delta { id, offset, text, .. } => {
                self.on_delta(state, core, ReceivedDelta { id, offset, text });
            }
            ServerFrame::Done(done) => {
                let replicas = state.replicas.as_ref();
                let whole = replicas.is_some_and(|replicas| replicas.has_complete_draft(core, &done.id, done.chars));
                match done.seq {
                    Some(seq) if seq <= state.published.seq() => {}
                    Some(seq) if !whole || !state.published.advance(seq) => self.spawn_catch_up(),
                    _ => {
                        state.end_remote_draft(&done.id);
                        state.publish_locally(Recipients::All, ServerFrame::Done(done));
                    }
                }
            }
            ServerFrame::Error(ErrorFrame { id: Some(id), .. }) if !state.is_relevant(core, &id) => {}
            ServerFrame::Error(error) => drop(self.sessions.tasks().spawn(Arc::clone(self).on_remote_error(error))),
            ServerFrame::Support(support) => {
                self.watch_state().learn_shown(&support.id, &support.help);
                state.publish_locally(Recipients::All, ServerFrame::Support(support));
            }
            frame => state.publish_locally(Recipients::All, frame),
        }
    }

    /// Publishes an error of another core, unless the message has an answer: during a partition two cores may answer
    /// it, and the error is that of the slower one.
    async fn on_remote_error(self: Arc<Self>, error: ErrorFrame) {
        if let Some(id) = &error.id {
            let answered = self.end_if_missing(self.sessions.turns().is_answered(self.user, id).await);
            if let Ok(true) = answered {
                return self.catch_up_or_close().await;
            }
            self.state().end_remote_draft(id);
        }
        self.state().publish_locally(Recipients::All, ServerFrame::Error(error));
    }

    fn on_delta(self: &Arc<Self>, state: &mut State, core: CoreId, delta: ReceivedDelta) {
        let ReceivedDelta { id, offset, text } = delta;
        if state.is_in_flight(&id) {
            // Answered here as well, during a partition: local clients read this core's answer.
            return;
        }
        let Some(replicas) = &mut state.replicas else { return };
        let is_first = !replicas.has_draft_of(&id);
        match replicas.apply_delta(core, &id, offset, text) {
            Delta::Duplicate => {}
            Delta::New { offset, text } => {
                state.publish_locally(Recipients::All, outbox::delta(id.clone(), offset, text));
            }
            // A `Hello` makes the answering core publish its whole draft again.
            Delta::Gap => state.publish_hello(),
        }
        if is_first {
            self.sessions.tasks().spawn(Arc::clone(self).poll_remote_answer(id, None));
        }
    }

    /// Follows the answer to a message that was sent here and that another core answers.
    pub(super) fn follow(self: &Arc<Self>, state: &mut State, stored: StoredMessage) {
        let id = stored.message.id.clone();
        let follows = state.replicas.as_mut().is_some_and(|replicas| replicas.awaited.insert(id.clone()));
        if follows {
            self.sessions.tasks().spawn(Arc::clone(self).poll_remote_answer(id, Some(stored)));
        }
    }

    /// Polls the claim to `id` while its answer is followed here. If the core that answers dies, the message is
    /// answered here if it was `sent` here and no text was shown; else clients get an error, to resend it.
    async fn poll_remote_answer(self: Arc<Self>, id: MessageId, sent: Option<StoredMessage>) {
        loop {
            sleep(POLL_INTERVAL).await;
            {
                let mut state = self.state();
                if !state.is_followed(&id) {
                    // A client that comes back starts to follow it again.
                    state.end_remote_draft(&id);
                    return;
                }
            }
            let Some(cluster) = &self.sessions.turns().cluster else { return };
            let in_flight = cluster.in_flight(self.user).await.map(|in_flight| in_flight.contains(&id));
            if in_flight == Some(true) {
                continue;
            }
            // The end event may have been lost, or published before we subscribed; ask the store.
            self.catch_up_or_close().await;
            if in_flight == Some(false) && self.is_abandoned(&id).await {
                return self.take_over(id, sent).await;
            }
        }
    }

    /// Returns true if `id` has neither a claim nor a stored answer. A stored answer has been published here by the
    /// catch-up; it is not followed further.
    async fn is_abandoned(&self, id: &MessageId) -> bool {
        let answered = self.end_if_missing(self.sessions.turns().is_answered(self.user, id).await);
        let mut state = self.state();
        if let Ok(true) = answered {
            state.end_remote_draft(id);
        }
        // An unavailable database decides nothing: the next poll asks again.
        answered.is_ok() && state.is_followed(id)
    }

    async fn take_over(self: Arc<Self>, id: MessageId, sent: Option<StoredMessage>) {
        // As for every new message: limits are checked for one message of a session at a time.
        let _commit = self.commit.lock().await;
        let (is_shown, in_flight) = {
            let mut state = self.state();
            if state.is_in_flight(&id) {
                // Resent meanwhile, and in flight here.
                state.end_remote_draft(&id);
                return;
            }
            (state.replicas.as_ref().is_some_and(|replicas| replicas.has_draft_of(&id)), state.in_flight())
        };
        let sent = sent.filter(|_| !is_shown);
        let is_busy = self.sessions.limits().per_user_max <= in_flight;
        let owner = match &sent {
            Some(StoredMessage { message, .. }) => {
                let turns = self.sessions.turns();
                let needs_slot = turns.needs_slot();
                let in_risk = message.risk.is_high();
                let attempt = Attempt { user: self.user, id: &id, from: message.from, is_busy, needs_slot, in_risk };
                turns.budget.begin(attempt, AttemptKind::Retry).await
            }
            None => Err(MessageRejection::abandoned()),
        };
        let mut state = self.state();
        state.end_remote_draft(&id);
        match (sent, owner) {
            (Some(stored), Ok(owner)) => self.answer_or_follow(&mut state, stored, owner),
            (_, Ok(_)) => {}
            (_, Err(rejection)) => state.publish_locally(Recipients::All, state.error(id, rejection)),
        }
    }

    fn spawn_catch_up(self: &Arc<Self>) {
        let session = Arc::clone(self);
        self.sessions.tasks().spawn(async move { session.catch_up_or_close().await });
    }

    /// Publishes entries that other cores stored and whose events were missed, and adopts a locale that was chosen
    /// there.
    ///
    /// # Errors
    ///
    /// The store failed. A session that it no longer has is ended, without an error.
    pub(super) async fn catch_up(&self) -> Result<(), StoreError> {
        let _commit = self.commit.lock().await;
        let spoken = self.locale();
        let Some(record) = self.sessions.turns().store.session_by_token(&self.token).await? else {
            self.gone(0);
            return Ok(());
        };
        {
            let mut state = self.state();
            // A locale that changed meanwhile was chosen after the record was read, or is not stored yet: it wins.
            if state.locale == spoken && record.locale != spoken && !state.is_locale_unsaved {
                state.choose(record.locale);
            }
        }
        self.catch_up_to(record.seq, None).await
    }

    /// [`Session::catch_up`]; a failure closes the connections.
    async fn catch_up_or_close(&self) {
        let caught_up = self.catch_up().await;
        self.close_unless_ok(caught_up);
    }

    /// Publishes missed entries before `seq`, which this core stored: entries of other cores, or of a commit whose reply
    /// was lost. Call it under the commit lock.
    pub(super) async fn catch_up_before(&self, seq: u64) {
        let caught_up = self.catch_up_to(seq - 1, None).await;
        self.close_unless_ok(caught_up);
    }

    /// Publishes missed entries up to the last of `entries`, which are stored; those of `own` not to the connection that
    /// resent the message. Call it under the commit lock.
    pub(super) async fn catch_up_to_known(&self, entries: &[Entry], own: (ConnectionId, &MessageId)) {
        let last = entries.last().map_or(0, |last| last.seq);
        let caught_up = self.catch_up_to(last, Some(own)).await;
        self.close_unless_ok(caught_up);
    }

    /// Closes the connections after a failed catch-up: later frames must not hide the gap. Clients reconnect and replay.
    fn close_unless_ok(&self, caught_up: Result<(), StoreError>) {
        let mut state = self.state();
        if let Err(error) = caught_up
            && !state.is_gone()
        {
            tracing::warn!(user = %self.user, %error, "catch-up read failed; closing session connections");
            state.close_except(&[], CloseReason::Internal);
        }
    }

    /// Publishes missed entries up to `last`, page by page. Call it under the commit lock.
    async fn catch_up_to(&self, last: u64, own: Option<(ConnectionId, &MessageId)>) -> Result<(), StoreError> {
        loop {
            let seq = self.state().published.seq();
            if last <= seq {
                return Ok(());
            }
            let found = self.entries_after(seq, CATCH_UP_PAGE_ENTRIES).await?;
            let opened_users = found.last_seq().unwrap_or(seq);
            let read_all = found.rows() < CATCH_UP_PAGE_ENTRIES || last <= opened_users;
            let mut state = self.state();
            for entry in found.entries.into_iter().filter(|entry| entry.seq <= last) {
                // A missing entry was pruned by retention, or cannot be decrypted.
                state.published.skip_to(entry.seq - 1);
                let sender = own.filter(|(_, id)| **id == entry.id).map(|(from, _)| from);
                self.apply_entry(&mut state, entry, sender);
            }
            state.published.skip_to(opened_users.min(last));
            if read_all {
                state.published.skip_to(last);
                return Ok(());
            }
        }
    }

    /// Publishes an entry of another core, if it is the next one. `sender`: the connection that has resent its message;
    /// it gets its result separately.
    fn apply_entry(&self, state: &mut State, entry: Entry, sender: Option<ConnectionId>) {
        // Its event may have arrived during the read.
        if !state.published.advance(entry.seq) {
            return;
        }
        state.messages += u64::from(entry.role == Role::User);
        self.watch_state().learn(&entry);
        let remote_draft = state.end_remote_draft(&entry.id);
        let to = sender.map_or(Recipients::All, Recipients::AllExcept);
        if entry.role != Role::Assistant {
            if sender.is_some() {
                // The commit succeeded but its reply was lost, so no core has published it.
                state.publish(to, ServerFrame::Turn(entry));
            } else {
                state.publish_locally(to, ServerFrame::Turn(entry));
            }
        } else if let Some(draft) = self.supersede(state, &entry.id) {
            state.publish_rest(to, &draft, &entry);
        } else if let Some(remote_draft) = remote_draft {
            state.publish_rest(to, &remote_draft.draft, &entry);
        } else {
            state.publish_locally(to, ServerFrame::Turn(entry));
        }
    }

    /// Stops the turn of message `id`, which another core has answered faster during a partition. Returns the text that
    /// was published here.
    fn supersede(&self, state: &mut State, id: &MessageId) -> Option<UserText> {
        if let Some(running) = state.running.as_mut().filter(|running| running.id == *id) {
            running.stop.cancel();
            running.superseded = true;
            return Some(running.draft.clone());
        }
        let Pending { turn, .. } = state.take_waiting(id)?;
        self.release_later(turn, false);
        Some(UserText::default())
    }

    /// Waits until other cores have answered the session's messages that they accepted earlier.
    pub(super) async fn wait_for_earlier_turns(&self) {
        let turn_ended = self.state().replicas.as_ref().map(|replicas| Arc::clone(&replicas.turn_ended));
        let (Some(cluster), Some(turn_ended)) = (&self.sessions.turns().cluster, turn_ended) else { return };
        loop {
            let next = turn_ended.notified();
            // Without Redis there is no order among cores, and no wait.
            if !cluster.in_flight(self.user).await.is_some_and(|in_flight| in_flight.is_other_cores_turn()) {
                return;
            }
            tokio::select! {
                () = next => {}
                () = sleep(POLL_INTERVAL) => {}
            }
        }
    }
}

impl State {
    /// Publishes the rest of a stored answer of which clients here have `read` the beginning.
    fn publish_rest(&self, to: Recipients, read: &UserText, answer: &Entry) {
        let Some(rest) = answer.text.expose().strip_prefix(read.expose()) else {
            // Local clients streamed another core's losing duplicate, which is no prefix of the stored answer: end it
            // with an error so that they reload.
            return self.publish_locally(to, self.error(answer.id.clone(), MessageRejection::abandoned()));
        };
        if !rest.is_empty() {
            self.publish_locally(to, outbox::delta(answer.id.clone(), read.chars(), UserText::new(rest)));
        }
        self.publish_locally(to, stored_done(answer));
    }

    /// Stops following the answer to `id`. Returns the draft that was published here.
    fn end_remote_draft(&mut self, id: &MessageId) -> Option<RemoteDraft> {
        let replicas = self.replicas.as_mut()?;
        replicas.turn_ended.notify_waiters();
        replicas.awaited.remove(id);
        replicas.remote_draft.take_if(|remote_draft| remote_draft.id == *id)
    }

    /// Returns true if an error of `core` for `id` concerns clients here: false while this or another core answers it.
    fn is_relevant(&self, core: CoreId, id: &MessageId) -> bool {
        let remote_draft = self.replicas.as_ref().and_then(|replicas| replicas.remote_draft.as_ref());
        !self.is_in_flight(id)
            && remote_draft.is_none_or(|remote_draft| remote_draft.id != *id || remote_draft.core == core)
    }

    /// Applies `update` to the replicas, with the number of connections here.
    fn update_replicas(&mut self, update: impl FnOnce(&mut RemoteReplicas, usize)) {
        let connections = self.connections.len();
        if let Some(replicas) = &mut self.replicas {
            update(replicas, connections);
            self.update_abandoned_since();
        }
    }

    /// Handles the start of the subscription. Returns true if events may have been missed before it.
    fn on_subscribed(&mut self) -> bool {
        self.publish_hello();
        self.replicas.as_mut().is_some_and(|replicas| replicas.may_have_missed_events())
    }

    fn publish_hello(&self) {
        let connections = self.connections.len();
        if let Some(replicas) = &self.replicas {
            replicas.publish_hello(connections);
        }
    }

    /// Returns true if a connection here follows another core's answer to `id`.
    fn is_followed(&self, id: &MessageId) -> bool {
        !self.connections.is_empty() && self.replicas.as_ref().is_some_and(|replicas| replicas.follows(id))
    }

    /// Publishes the answer in progress here to the other cores, from its start.
    fn publish_draft(&self) {
        if let (Some(running), Some(replicas)) = (&self.running, &self.replicas)
            && !running.draft.is_empty()
        {
            replicas.publish_frame(&outbox::delta(running.id.clone(), 0, running.draft.clone()));
        }
    }
}
