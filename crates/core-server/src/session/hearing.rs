//! What other cores tell of a session, and what is looked up where something was not heard.

use std::sync::Arc;
use std::time::Duration;

use protocol::server_frame::{Entry, ErrorFrame, Role};
use protocol::{CloseReason, MessageId, ServerFrame, UserLabel, UserText};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::elsewhere::{Elsewhere, Mirror, Piece};
use super::state::{Pending, State, To};
use super::{ConnectionId, Session, Sessions, outbox, stored_done};
use crate::cluster::{ClusterEvent, CoreId, Envelope, SessionEvent};
use crate::store::StoreError;
use crate::turn::{Attempt, Message, Refusal, Start};

/// How often it is looked for cores that died without a word.
const TICK_EVERY: Duration = Duration::from_secs(15);
/// How often it is made sure that somebody still gives an answer that is heard here.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Entries read at once.
const ENTRIES_AT_ONCE: usize = 200;
/// Sessions that look into the database at once when the link is back.
const LOOKS_AT_ONCE: usize = 8;

impl Sessions {
    /// Takes up what the other cores tell. Does not end as long as they can be heard.
    pub async fn hear_forever(self: Arc<Self>, mut heard: mpsc::Receiver<ClusterEvent>) {
        let looks = Arc::new(Semaphore::new(LOOKS_AT_ONCE));
        let mut ticks = interval(TICK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let heard = tokio::select! {
                biased;
                heard = heard.recv() => heard,
                _ = ticks.tick() => {
                    self.tick();
                    continue;
                }
            };
            let Some(heard) = heard else { return };
            match heard {
                ClusterEvent::Connected => drop(self.tasks().spawn(Arc::clone(&self).claim_anew())),
                ClusterEvent::Subscribed(user) => {
                    if let Some(session) = self.live_session_of(user).filter(|session| session.state().joined()) {
                        let looks = Arc::clone(&looks);
                        self.tasks().spawn(async move {
                            let _look = looks.acquire().await;
                            session.catch_up_or_close().await;
                        });
                    }
                }
                ClusterEvent::Published(user, payload) => self.told(user, &payload),
                ClusterEvent::NoSubscribers(user, note) => {
                    if let Some(session) = self.live_session_of(user) {
                        session.state().note_elsewhere(|elsewhere, _| elsewhere.alone(note));
                    }
                }
            }
        }
    }

    /// Forgets other cores that died without a word.
    fn tick(&self) {
        for user in self.users() {
            if let Some(session) = self.live_session_of(user) {
                session.state().note_elsewhere(Elsewhere::tick);
            }
        }
    }

    fn told(&self, user: UserLabel, payload: &[u8]) {
        let Some(session) = self.live_session_of(user) else { return };
        match Envelope::decode(payload) {
            Ok(Envelope { core, event }) if !self.engine().is_this(core) => session.hear(core, event),
            Ok(_) => {}
            Err(error) => tracing::warn!(%user, %error, "another core told something strange"),
        }
    }

    /// What is under way here is claimed under the name this core goes by now, and what counts
    /// is counted.
    async fn claim_anew(self: Arc<Self>) {
        let budget = &self.engine().budget;
        budget.recall().await;
        for user in self.users() {
            let Some(session) = self.live_session_of(user) else { continue };
            let claims = session.state().claims_under_way();
            for claim in claims {
                budget.reclaim(user, &claim.0, claim.1).await;
                // It may have ended meanwhile.
                if !session.state().claims_under_way().contains(&claim) {
                    budget.release(user, &claim.0, claim.1, false).await;
                }
            }
        }
    }
}

impl Session {
    /// Takes what `core` tells.
    pub(super) fn hear(self: &Arc<Self>, core: CoreId, event: SessionEvent) {
        let mut state = self.state();
        let connections = state.connections.len();
        let Some(elsewhere) = &mut state.elsewhere else { return };
        let is_new = elsewhere.note(core, event.connections());
        if is_new {
            // What it told before we listened is not known here.
            self.catch_up_later();
        }
        let is_hello = matches!(event, SessionEvent::Hello { .. });
        if is_new || is_hello {
            elsewhere.tell_here(connections);
        }
        state.note_listeners();
        match event {
            SessionEvent::Hello { .. } => state.tell_draft(),
            SessionEvent::Here { .. } => {}
            SessionEvent::Frame(frame) => self.hear_frame(&mut state, core, *frame),
            SessionEvent::Stop { id } => drop(self.stop_here(&mut state, &id)),
            SessionEvent::Locale { locale } => state.choose(locale),
            SessionEvent::Country { country } => state.whereabouts.country = Some(country),
            SessionEvent::Erased => drop(self.end(&mut state, 0)),
        }
    }

    fn hear_frame(self: &Arc<Self>, state: &mut State, core: CoreId, frame: ServerFrame) {
        match frame {
            ServerFrame::Turn(entry) if entry.seq <= state.told.seq() => {}
            ServerFrame::Turn(entry) if entry.seq == state.told.seq() + 1 => self.learn(state, entry, None),
            ServerFrame::Turn(_) => self.catch_up_later(),
            ServerFrame::Delta { id, offset, text, .. } => self.hear_delta(state, core, id, (offset, text)),
            ServerFrame::Done(done) => {
                let elsewhere = state.elsewhere.as_ref();
                let whole = elsewhere.is_some_and(|elsewhere| elsewhere.has_whole(core, &done.id, done.chars));
                match done.seq {
                    Some(seq) if seq <= state.told.seq() => {}
                    Some(seq) if !whole || !state.told.next(seq) => self.catch_up_later(),
                    _ => {
                        state.end_mirror(&done.id);
                        state.publish_here(To::Everyone, ServerFrame::Done(done));
                    }
                }
            }
            ServerFrame::Error(ErrorFrame { id: Some(id), .. }) if !state.concerns(core, &id) => {}
            ServerFrame::Error(error) => drop(self.sessions.tasks().spawn(Arc::clone(self).hear_error(error))),
            ServerFrame::Support(support) => {
                self.watch_state().learn_shown(&support.id, &support.help);
                state.publish_here(To::Everyone, ServerFrame::Support(support));
            }
            frame => state.publish_here(To::Everyone, frame),
        }
    }

    /// Tells that another core gives no answer, unless there is one: while the cores could not agree
    /// two of them answered, and this one was slower.
    async fn hear_error(self: Arc<Self>, error: ErrorFrame) {
        if let Some(id) = &error.id {
            let answered = self.found(self.sessions.engine().is_answered(self.user, id).await);
            if let Ok(true) = answered {
                return self.catch_up_or_close().await;
            }
            self.state().end_mirror(id);
        }
        self.state().publish_here(To::Everyone, ServerFrame::Error(error));
    }

    fn hear_delta(self: &Arc<Self>, state: &mut State, core: CoreId, id: MessageId, (offset, text): (usize, UserText)) {
        if state.is_under_way(&id) {
            // Answered here as well, while the cores could not agree.
            return;
        }
        let Some(elsewhere) = &mut state.elsewhere else { return };
        let is_first = !elsewhere.mirrors(&id);
        match elsewhere.take(core, &id, offset, text) {
            Piece::Known => {}
            Piece::New { offset, text } => state.publish_here(To::Everyone, outbox::delta(id.clone(), offset, text)),
            // Whoever gives the answer tells all of it again.
            Piece::Gap => state.say_hello(),
        }
        if is_first {
            self.sessions.tasks().spawn(Arc::clone(self).watch(id, None));
        }
    }

    /// Follows the answer to a message that was sent here by connection `from` and that another
    /// core has under way.
    pub(super) fn follow(self: &Arc<Self>, state: &mut State, from: ConnectionId, message: Message, seq: u64) {
        let id = message.id.clone();
        let follows = state.elsewhere.as_mut().is_some_and(|elsewhere| elsewhere.awaited.insert(id.clone()));
        if follows {
            self.sessions.tasks().spawn(Arc::clone(self).watch(id, Some((from, message, seq))));
        }
    }

    /// Makes sure that somebody gives the answer to `id` as long as it is followed here: a core
    /// that dies says nothing. What it leaves is answered here if it was `sent` here and nothing of
    /// the answer was shown; else whoever sent it is told to do so again.
    async fn watch(self: Arc<Self>, id: MessageId, sent: Option<(ConnectionId, Message, u64)>) {
        loop {
            sleep(WATCH_EVERY).await;
            {
                let mut state = self.state();
                if !state.is_followed(&id) {
                    // Whoever comes back follows it anew.
                    state.end_mirror(&id);
                    return;
                }
            }
            let Some(cluster) = &self.sessions.engine().cluster else { return };
            let under_way = cluster.in_flight(self.user).await.map(|under_way| under_way.contains(&id));
            if under_way == Some(true) {
                continue;
            }
            // It may have ended unheard, or before it was followed.
            self.catch_up_or_close().await;
            if under_way == Some(false) && self.is_deserted(&id).await {
                return self.take_over(id, sent).await;
            }
        }
    }

    /// Whether nobody answers `id` any more, and nobody has. Whoever is here has had an answer that
    /// is stored; it is not followed any more then.
    async fn is_deserted(&self, id: &MessageId) -> bool {
        let answered = self.found(self.sessions.engine().is_answered(self.user, id).await);
        let mut state = self.state();
        if let Ok(true) = answered {
            state.end_mirror(id);
        }
        // Looked for again where the database is away.
        answered.is_ok() && state.is_followed(id)
    }

    async fn take_over(self: Arc<Self>, id: MessageId, sent: Option<(ConnectionId, Message, u64)>) {
        // As for every message that comes in: the limits look at one of a session at a time.
        let _commit = self.commit.lock().await;
        let (is_shown, under_way) = {
            let mut state = self.state();
            if state.is_under_way(&id) {
                // It was sent again meanwhile.
                state.end_mirror(&id);
                return;
            }
            (state.elsewhere.as_ref().is_some_and(|elsewhere| elsewhere.mirrors(&id)), state.under_way())
        };
        let sent = sent.filter(|_| !is_shown);
        let is_busy = self.sessions.policy().per_user_max <= under_way;
        let answerer = match &sent {
            Some((_, message, _)) => {
                let engine = self.sessions.engine();
                let needs_slot = engine.needs_slot();
                let in_risk = message.risk.is_high();
                let attempt = Attempt { user: self.user, id: &id, from: message.from, is_busy, needs_slot, in_risk };
                engine.budget.begin(attempt, Start::Again).await
            }
            None => Err(Refusal::deserted()),
        };
        let mut state = self.state();
        state.end_mirror(&id);
        match (sent, answerer) {
            (Some((from, message, seq)), Ok(answerer)) => {
                self.answer_or_follow(&mut state, (from, answerer), message, seq);
            }
            (_, Ok(_)) => {}
            (_, Err(refusal)) => state.publish_here(To::Everyone, state.error(id, refusal)),
        }
    }

    fn catch_up_later(self: &Arc<Self>) {
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
        let Some(record) = self.sessions.engine().store.session_by_token(&self.token).await? else {
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
        self.learn_up_to(record.seq, None).await
    }

    /// [`Session::catch_up`]; if that fails the connections end.
    async fn catch_up_or_close(&self) {
        let caught_up = self.catch_up().await;
        self.close_unless(caught_up);
    }

    /// Tells what was stored before `seq`, which was stored here, and is not known here: by other
    /// cores, or by a statement whose answer was lost. To be called under the commit lock.
    pub(super) async fn learn_before(&self, seq: u64) {
        let learnt = self.learn_up_to(seq - 1, None).await;
        self.close_unless(learnt);
    }

    /// Tells what is not known here up to the last of `entries`, which are stored; those of `own`
    /// not to the connection that sent the message again. To be called under the commit lock.
    pub(super) async fn learn_known(&self, entries: &[Entry], own: (ConnectionId, &MessageId)) {
        let last = entries.last().map_or(0, |last| last.seq);
        let learnt = self.learn_up_to(last, Some(own)).await;
        self.close_unless(learnt);
    }

    /// What could not be read is missing, and what is told later would hide that: connections end.
    fn close_unless(&self, learnt: Result<(), StoreError>) {
        let mut state = self.state();
        if let Err(error) = learnt
            && !state.is_gone()
        {
            tracing::warn!(user = %self.user, %error, "what other cores stored cannot be read: the session's connections end");
            state.close_but(&[], CloseReason::Internal);
        }
    }

    /// Tells entries up to `last` that are not known here. To be called under the commit lock.
    async fn learn_up_to(&self, last: u64, own: Option<(ConnectionId, &MessageId)>) -> Result<(), StoreError> {
        loop {
            let seq = self.state().told.seq();
            if last <= seq {
                return Ok(());
            }
            let found = self.entries_after(seq, ENTRIES_AT_ONCE).await?;
            let reached = found.last_seq().unwrap_or(seq);
            let read_all = found.rows() < ENTRIES_AT_ONCE || last <= reached;
            let mut state = self.state();
            for entry in found.entries.into_iter().filter(|entry| entry.seq <= last) {
                // What is not there was swept, as its time was over, or does not open.
                state.told.settle(entry.seq - 1);
                let sender = own.filter(|(_, id)| **id == entry.id).map(|(from, _)| from);
                self.learn(&mut state, entry, sender);
            }
            state.told.settle(reached.min(last));
            if read_all {
                state.told.settle(last);
                return Ok(());
            }
        }
    }

    /// Notes and tells an entry that was stored elsewhere, if it is the next one. If `sender` has
    /// sent its message again, that connection is told apart.
    fn learn(&self, state: &mut State, entry: Entry, sender: Option<ConnectionId>) {
        // It may have been heard meanwhile.
        if !state.told.next(entry.seq) {
            return;
        }
        state.messages += u64::from(entry.role == Role::User);
        self.watch_state().learn(&entry);
        let mirror = state.end_mirror(&entry.id);
        let to = sender.map_or(To::Everyone, To::EveryoneBut);
        if entry.role != Role::Assistant {
            if sender.is_some() {
                // Stored when the database did not live to say so: no core has told of it.
                state.publish(to, ServerFrame::Turn(entry));
            } else {
                state.publish_here(to, ServerFrame::Turn(entry));
            }
        } else if let Some(draft) = self.give_up(state, &entry.id) {
            state.tell_rest(to, &draft, &entry);
        } else if let Some(mirror) = mirror {
            state.tell_rest(to, &mirror.draft, &entry);
        } else {
            state.publish_here(to, ServerFrame::Turn(entry));
        }
    }

    /// Ends what is done here for message `id`: while the cores could not agree, another has answered
    /// it too, and was faster. Gives what was told of our answer.
    fn give_up(&self, state: &mut State, id: &MessageId) -> Option<UserText> {
        if let Some(running) = state.running.as_mut().filter(|running| running.id == *id) {
            running.stop.cancel();
            running.given_up = true;
            return Some(running.draft.clone());
        }
        let Pending { job, .. } = state.take_waiting(id)?;
        self.release_later(job, false);
        Some(UserText::default())
    }

    /// Waits until other cores have answered what they accepted of the session before us.
    pub(super) async fn our_turn(&self) {
        let moved = self.state().elsewhere.as_ref().map(|elsewhere| Arc::clone(&elsewhere.moved));
        let (Some(cluster), Some(moved)) = (&self.sessions.engine().cluster, moved) else { return };
        loop {
            let moves = moved.notified();
            // Without Redis there is nobody to wait for.
            if !cluster.in_flight(self.user).await.is_some_and(|under_way| under_way.is_other_cores_turn()) {
                return;
            }
            tokio::select! {
                () = moves => {}
                () = sleep(WATCH_EVERY) => {}
            }
        }
    }
}

impl State {
    /// Tells what is missing of an answer of which people here have read so much.
    fn tell_rest(&self, to: To, read: &UserText, answer: &Entry) {
        let Some(rest) = answer.text.expose().strip_prefix(read.expose()) else {
            // They are reading another one, of a core that was not as fast.
            return self.publish_here(to, self.error(answer.id.clone(), Refusal::deserted()));
        };
        if !rest.is_empty() {
            self.publish_here(to, outbox::delta(answer.id.clone(), read.chars(), UserText::new(rest)));
        }
        self.publish_here(to, stored_done(answer));
    }

    /// The answer to `id` has ended elsewhere. Gives what was told of it here.
    fn end_mirror(&mut self, id: &MessageId) -> Option<Mirror> {
        let elsewhere = self.elsewhere.as_mut()?;
        elsewhere.moved.notify_waiters();
        elsewhere.awaited.remove(id);
        elsewhere.mirror.take_if(|mirror| mirror.id == *id)
    }

    /// Whether it matters here that `core` gives no answer to `id`: not where another one does.
    fn concerns(&self, core: CoreId, id: &MessageId) -> bool {
        let mirror = self.elsewhere.as_ref().and_then(|elsewhere| elsewhere.mirror.as_ref());
        !self.is_under_way(id) && mirror.is_none_or(|mirror| mirror.id != *id || mirror.core == core)
    }

    /// Changes what is known of other cores; `note` gets the number of connections here too.
    fn note_elsewhere(&mut self, note: impl FnOnce(&mut Elsewhere, usize)) {
        let connections = self.connections.len();
        if let Some(elsewhere) = &mut self.elsewhere {
            note(elsewhere, connections);
            self.note_listeners();
        }
    }

    /// From now on everything is heard. Says whether something may have been missed.
    fn joined(&mut self) -> bool {
        self.say_hello();
        self.elsewhere.as_mut().is_some_and(|elsewhere| elsewhere.may_have_missed_some())
    }

    /// Asks the other cores who they are and what they are doing.
    fn say_hello(&self) {
        let connections = self.connections.len();
        if let Some(elsewhere) = &self.elsewhere {
            elsewhere.say_hello(connections);
        }
    }

    /// Whether somebody here follows an answer that another core gives.
    fn is_followed(&self, id: &MessageId) -> bool {
        !self.connections.is_empty() && self.elsewhere.as_ref().is_some_and(|elsewhere| elsewhere.follows(id))
    }

    /// Tells the other cores the answer under way here, from its start.
    fn tell_draft(&self) {
        if let (Some(running), Some(elsewhere)) = (&self.running, &self.elsewhere)
            && !running.draft.is_empty()
        {
            elsewhere.tell_frame(&outbox::delta(running.id.clone(), 0, running.draft.clone()));
        }
    }
}
