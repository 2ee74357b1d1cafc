//! What other cores tell of a session, and what is looked up where something was not heard.

use std::sync::Arc;
use std::time::Duration;

use protocol::server_frame::{Entry, ErrorFrame, Role};
use protocol::{CloseReason, MessageId, ServerFrame, UserLabel, UserText};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::replicas::{Delta, RemoteDraft, RemoteReplicas};
use super::state::{Pending, Recipients, State};
use super::{ConnectionId, Session, Sessions, outbox, stored_done};
use crate::cluster::{ClusterEvent, CoreId, Envelope, SessionEvent};
use crate::store::StoreError;
use crate::turn::{Attempt, AttemptKind, Message, MessageRejection};

/// How often it is looked for cores that died without a word.
const REPLICA_TICK_INTERVAL: Duration = Duration::from_secs(15);
/// How often it is made sure that somebody still gives an answer that is heard here.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Entries read at once.
const CATCH_UP_PAGE_ENTRIES: usize = 200;
/// Sessions that look into the database at once when the link is back.
const MAX_CONCURRENT_CATCH_UPS: usize = 8;

impl Sessions {
    /// Takes up what the other cores tell. Does not end as long as they can be heard.
    pub async fn run_cluster_events(self: Arc<Self>, mut events: mpsc::Receiver<ClusterEvent>) {
        let catch_ups = Arc::new(Semaphore::new(MAX_CONCURRENT_CATCH_UPS));
        let mut ticks = interval(REPLICA_TICK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
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

    /// Forgets other cores that died without a word.
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

    /// What is under way here is claimed under the name this core goes by now, and what counts
    /// is counted.
    async fn reclaim_all(self: Arc<Self>) {
        let budget = &self.turns().budget;
        budget.restore_windows().await;
        for user in self.users() {
            let Some(session) = self.live_session_of(user) else { continue };
            let claims = session.state().in_flight_claims();
            for claim in claims {
                budget.reclaim(user, &claim.0, claim.1).await;
                // It may have ended meanwhile.
                if !session.state().in_flight_claims().contains(&claim) {
                    budget.release(user, &claim.0, claim.1, false).await;
                }
            }
        }
    }
}

impl Session {
    /// Takes what `core` tells.
    pub(super) fn on_event(self: &Arc<Self>, core: CoreId, event: SessionEvent) {
        let mut state = self.state();
        let connections = state.connections.len();
        let Some(replicas) = &mut state.replicas else { return };
        let is_new = replicas.on_event_from(core, event.connections());
        if is_new {
            // What it told before we listened is not known here.
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
            ServerFrame::Delta { id, offset, text, .. } => self.on_delta(state, core, id, (offset, text)),
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

    /// Tells that another core gives no answer, unless there is one: while the cores could not agree
    /// two of them answered, and this one was slower.
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

    fn on_delta(self: &Arc<Self>, state: &mut State, core: CoreId, id: MessageId, (offset, text): (usize, UserText)) {
        if state.is_in_flight(&id) {
            // Answered here as well, while the cores could not agree.
            return;
        }
        let Some(replicas) = &mut state.replicas else { return };
        let is_first = !replicas.has_draft_of(&id);
        match replicas.apply_delta(core, &id, offset, text) {
            Delta::Duplicate => {}
            Delta::New { offset, text } => {
                state.publish_locally(Recipients::All, outbox::delta(id.clone(), offset, text));
            }
            // Whoever gives the answer tells all of it again.
            Delta::Gap => state.publish_hello(),
        }
        if is_first {
            self.sessions.tasks().spawn(Arc::clone(self).poll_remote_answer(id, None));
        }
    }

    /// Follows the answer to a message that was sent here by connection `from` and that another
    /// core has under way.
    pub(super) fn follow(self: &Arc<Self>, state: &mut State, from: ConnectionId, message: Message, seq: u64) {
        let id = message.id.clone();
        let follows = state.replicas.as_mut().is_some_and(|replicas| replicas.awaited.insert(id.clone()));
        if follows {
            self.sessions.tasks().spawn(Arc::clone(self).poll_remote_answer(id, Some((from, message, seq))));
        }
    }

    /// Makes sure that somebody gives the answer to `id` as long as it is followed here: a core
    /// that dies says nothing. What it leaves is answered here if it was `sent` here and nothing of
    /// the answer was shown; else whoever sent it is told to do so again.
    async fn poll_remote_answer(self: Arc<Self>, id: MessageId, sent: Option<(ConnectionId, Message, u64)>) {
        loop {
            sleep(POLL_INTERVAL).await;
            {
                let mut state = self.state();
                if !state.is_followed(&id) {
                    // Whoever comes back follows it anew.
                    state.end_remote_draft(&id);
                    return;
                }
            }
            let Some(cluster) = &self.sessions.turns().cluster else { return };
            let in_flight = cluster.in_flight(self.user).await.map(|in_flight| in_flight.contains(&id));
            if in_flight == Some(true) {
                continue;
            }
            // It may have ended unheard, or before it was followed.
            self.catch_up_or_close().await;
            if in_flight == Some(false) && self.is_abandoned(&id).await {
                return self.take_over(id, sent).await;
            }
        }
    }

    /// Whether nobody answers `id` any more, and nobody has. Whoever is here has had an answer that
    /// is stored; it is not followed any more then.
    async fn is_abandoned(&self, id: &MessageId) -> bool {
        let answered = self.end_if_missing(self.sessions.turns().is_answered(self.user, id).await);
        let mut state = self.state();
        if let Ok(true) = answered {
            state.end_remote_draft(id);
        }
        // Looked for again where the database is away.
        answered.is_ok() && state.is_followed(id)
    }

    async fn take_over(self: Arc<Self>, id: MessageId, sent: Option<(ConnectionId, Message, u64)>) {
        // As for every message that comes in: the limits look at one of a session at a time.
        let _commit = self.commit.lock().await;
        let (is_shown, in_flight) = {
            let mut state = self.state();
            if state.is_in_flight(&id) {
                // It was sent again meanwhile.
                state.end_remote_draft(&id);
                return;
            }
            (state.replicas.as_ref().is_some_and(|replicas| replicas.has_draft_of(&id)), state.in_flight())
        };
        let sent = sent.filter(|_| !is_shown);
        let is_busy = self.sessions.limits().per_user_max <= in_flight;
        let owner = match &sent {
            Some((_, message, _)) => {
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
            (Some((from, message, seq)), Ok(owner)) => {
                self.answer_or_follow(&mut state, (from, owner), message, seq);
            }
            (_, Ok(_)) => {}
            (_, Err(rejection)) => state.publish_locally(Recipients::All, state.error(id, rejection)),
        }
    }

    fn spawn_catch_up(self: &Arc<Self>) {
        let session = Arc::clone(self);
        self.sessions.tasks().spawn(async move { session.catch_up_or_close().await });
    }

    /// Tells what other cores stored and this one did not hear, and speaks the language that they
    /// were asked for.
    ///
    /// # Errors
    ///
    /// The store failed; a session that it has no more is gone.
    pub(super) async fn catch_up(&self) -> Result<(), StoreError> {
        let _commit = self.commit.lock().await;
        let spoken = self.locale();
        let Some(record) = self.sessions.turns().store.session_by_token(&self.token).await? else {
            self.gone(0);
            return Ok(());
        };
        {
            let mut state = self.state();
            // Another one by now was asked for after the record was read, or is still to be stored.
            if state.locale == spoken && record.locale != spoken && !state.is_locale_unsaved {
                state.choose(record.locale);
            }
        }
        self.catch_up_to(record.seq, None).await
    }

    /// [`Session::catch_up`]; if that fails the connections end.
    async fn catch_up_or_close(&self) {
        let caught_up = self.catch_up().await;
        self.close_unless_ok(caught_up);
    }

    /// Tells what was stored before `seq`, which was stored here, and is not known here: by other
    /// cores, or by a statement whose answer was lost. To be called under the commit lock.
    pub(super) async fn catch_up_before(&self, seq: u64) {
        let caught_up = self.catch_up_to(seq - 1, None).await;
        self.close_unless_ok(caught_up);
    }

    /// Tells what is not known here up to the last of `entries`, which are stored; those of `own`
    /// not to the connection that sent the message again. To be called under the commit lock.
    pub(super) async fn catch_up_to_known(&self, entries: &[Entry], own: (ConnectionId, &MessageId)) {
        let last = entries.last().map_or(0, |last| last.seq);
        let caught_up = self.catch_up_to(last, Some(own)).await;
        self.close_unless_ok(caught_up);
    }

    /// What could not be read is missing, and what is told later would hide that: connections end.
    fn close_unless_ok(&self, caught_up: Result<(), StoreError>) {
        let mut state = self.state();
        if let Err(error) = caught_up
            && !state.is_gone()
        {
            tracing::warn!(user = %self.user, %error, "catch-up read failed; closing session connections");
            state.close_except(&[], CloseReason::Internal);
        }
    }

    /// Tells entries up to `last` that are not known here. To be called under the commit lock.
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
                // What is not there was swept, as its time was over, or does not open.
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

    /// Notes and tells an entry that was stored elsewhere, if it is the next one. If `sender` has
    /// sent its message again, that connection is told apart.
    fn apply_entry(&self, state: &mut State, entry: Entry, sender: Option<ConnectionId>) {
        // It may have been heard meanwhile.
        if !state.published.advance(entry.seq) {
            return;
        }
        state.messages += u64::from(entry.role == Role::User);
        self.watch_state().learn(&entry);
        let remote_draft = state.end_remote_draft(&entry.id);
        let to = sender.map_or(Recipients::All, Recipients::AllExcept);
        if entry.role != Role::Assistant {
            if sender.is_some() {
                // Stored when the database did not live to say so: no core has told of it.
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

    /// Ends what is done here for message `id`: while the cores could not agree, another has answered
    /// it too, and was faster. Gives what was told of our answer.
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

    /// Waits until other cores have answered what they accepted of the session before us.
    pub(super) async fn wait_for_earlier_turns(&self) {
        let turn_ended = self.state().replicas.as_ref().map(|replicas| Arc::clone(&replicas.turn_ended));
        let (Some(cluster), Some(turn_ended)) = (&self.sessions.turns().cluster, turn_ended) else { return };
        loop {
            let next = turn_ended.notified();
            // Without Redis there is nobody to wait for.
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
    /// Tells what is missing of an answer of which people here have read so much.
    fn publish_rest(&self, to: Recipients, read: &UserText, answer: &Entry) {
        let Some(rest) = answer.text.expose().strip_prefix(read.expose()) else {
            // They are reading another one, of a core that was not as fast.
            return self.publish_locally(to, self.error(answer.id.clone(), MessageRejection::abandoned()));
        };
        if !rest.is_empty() {
            self.publish_locally(to, outbox::delta(answer.id.clone(), read.chars(), UserText::new(rest)));
        }
        self.publish_locally(to, stored_done(answer));
    }

    /// The answer to `id` has ended elsewhere. Gives what was told of it here.
    fn end_remote_draft(&mut self, id: &MessageId) -> Option<RemoteDraft> {
        let replicas = self.replicas.as_mut()?;
        replicas.turn_ended.notify_waiters();
        replicas.awaited.remove(id);
        replicas.remote_draft.take_if(|remote_draft| remote_draft.id == *id)
    }

    /// Whether it matters here that `core` gives no answer to `id`: not where another one does.
    fn is_relevant(&self, core: CoreId, id: &MessageId) -> bool {
        let remote_draft = self.replicas.as_ref().and_then(|replicas| replicas.remote_draft.as_ref());
        !self.is_in_flight(id)
            && remote_draft.is_none_or(|remote_draft| remote_draft.id != *id || remote_draft.core == core)
    }

    /// Changes what is known of other cores; `note` gets the number of connections here too.
    fn update_replicas(&mut self, update: impl FnOnce(&mut RemoteReplicas, usize)) {
        let connections = self.connections.len();
        if let Some(replicas) = &mut self.replicas {
            update(replicas, connections);
            self.update_abandoned_since();
        }
    }

    /// From now on everything is heard. Says whether something may have been missed.
    fn on_subscribed(&mut self) -> bool {
        self.publish_hello();
        self.replicas.as_mut().is_some_and(|replicas| replicas.may_have_missed_events())
    }

    /// Asks the other cores who they are and what they are doing.
    fn publish_hello(&self) {
        let connections = self.connections.len();
        if let Some(replicas) = &self.replicas {
            replicas.publish_hello(connections);
        }
    }

    /// Whether somebody here follows an answer that another core gives.
    fn is_followed(&self, id: &MessageId) -> bool {
        !self.connections.is_empty() && self.replicas.as_ref().is_some_and(|replicas| replicas.follows(id))
    }

    /// Tells the other cores the answer under way here, from its start.
    fn publish_draft(&self) {
        if let (Some(running), Some(replicas)) = (&self.running, &self.replicas)
            && !running.draft.is_empty()
        {
            replicas.publish_frame(&outbox::delta(running.id.clone(), 0, running.draft.clone()));
        }
    }
}
