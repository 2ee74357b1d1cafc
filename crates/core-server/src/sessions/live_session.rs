//! Owner of a session's machine: passes inputs, and starts the effects.
//!
//! A lock instead of a task owns the machine: the thread that brings an input processes it and starts its effects, all
//! without waiting. So the effects of one session start in one order, a delta passes no queue, and an idle session costs
//! no task. Work that waits (store, model, cluster, time) runs in tasks, which exist only meanwhile.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use cluster::Cluster;
use protocol::server_frame::Help;
use protocol::{
    Country, Language, LinkCode, Locale, MessageId, ResumeToken, SessionId, Timestamp, UserLabel, UserText,
};
use session::{
    Completed, ConnectionId, ContinuousUse, Effect, Failure, Input, Message, Now, Opening, PreSessionWatch, Risk,
    Session, Ticket, TurnEvent,
};
use store::{NewLink, SessionRecord, Summary};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::effects::Starter;
use super::timer::TimerTask;
use super::turn_task::Turns;
use super::{Outbox, SessionError, SessionKey, Sessions};
use crate::turn::{AnswerSink, now};

/// Validity of a code for another device.
pub const LINK_VALIDITY: Duration = Duration::from_secs(600);

/// A session in memory. It lives while a connection or a task holds it.
#[derive(Debug)]
pub struct LiveSession {
    pub(super) sessions: Arc<Sessions>,
    user: UserLabel,
    id: SessionId,
    pub(super) created_at: Timestamp,
    /// Never held across an await; effects are started under it, in their order.
    cell: Mutex<Cell>,
    /// Notified when the session's deadline is earlier than the timer's, or gone.
    pub(super) rearmed: Notify,
}

/// The machine, and what its effects act on.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) session: Session,
    /// The resume token, as far as this core knows.
    pub(super) token: ResumeToken,
    /// Buffer for effects; empty between two inputs.
    pub(super) effects: Vec<Effect>,
    pub(super) outboxes: Vec<(ConnectionId, Arc<Outbox>)>,
    /// Permits and controls of the turns in flight.
    pub(super) turns: Turns,
    /// Calls that await their completion.
    pub(super) calls: Vec<(Ticket, oneshot::Sender<Result<Completed, Failure>>)>,
    next_ticket: u64,
    /// Time at which the timer task wakes next; `None` without a task.
    pub(super) timer: Option<Instant>,
}

/// A call of a session that has taken effect; completes with its result. Dropping it drops the result only.
#[derive(Debug)]
pub struct Call(oneshot::Receiver<Result<Completed, Failure>>);

impl Future for Call {
    type Output = Result<Completed, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The session completes every call; without its owner there is nothing left to do.
        Pin::new(&mut self.0).poll(cx).map(|result| result.unwrap_or(Err(Failure::NoSession)))
    }
}

impl LiveSession {
    /// `is_new`: the session was created just now, not resumed.
    pub(super) fn new(sessions: Arc<Sessions>, record: SessionRecord, token: ResumeToken, is_new: bool) -> Self {
        let SessionRecord { user, id, created_at, locale, country, seq, messages, pruned: _, rotations } = record;
        let cluster = sessions.turns().cluster.as_ref().filter(|_| user.is_kept());
        cluster.iter().for_each(|cluster| cluster.subscribe(user));
        let cluster = cluster.map(|cluster| cluster.is_connected());
        let opening = Opening { user, seq, messages, locale, country, rotations, is_new, cluster };
        let session = Session::new(sessions.settings(), opening, Instant::now().into_std());
        let cell = Cell {
            session,
            token,
            effects: Vec::new(),
            outboxes: Vec::new(),
            turns: Turns::default(),
            calls: Vec::new(),
            next_ticket: 0,
            timer: None,
        };
        Self { sessions, user, id, created_at, cell: Mutex::new(cell), rearmed: Notify::new() }
    }

    pub fn user(&self) -> UserLabel {
        self.user
    }

    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Returns the cluster; `None` also for a session that is not kept, which no other core has.
    pub(super) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.sessions.turns().cluster.as_ref().filter(|_| self.user.is_kept())
    }

    pub(super) fn cell(&self) -> MutexGuard<'_, Cell> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- inputs -----------------------------------------------------------------------------

    /// Processes `input`, and starts its effects.
    pub(super) fn on(self: &Arc<Self>, input: Input) {
        self.update(|session, now, effects| session.on(now, input, effects));
    }

    /// Applies `update` to the machine, and starts its effects.
    fn update<R>(self: &Arc<Self>, update: impl FnOnce(&mut Session, Now, &mut Vec<Effect>) -> R) -> R {
        self.update_cell(|cell, now| update(&mut cell.session, now, &mut cell.effects))
    }

    /// Applies `update` to machine and owner in one step, and starts the effects.
    pub(super) fn update_cell<R>(self: &Arc<Self>, update: impl FnOnce(&mut Cell, Now) -> R) -> R {
        let mut cell = self.cell();
        let result = update(&mut cell, Now { instant: Instant::now().into_std(), wall: now() });
        Starter::new(self, &mut cell).start_all();
        TimerTask::arm(self, &mut cell);
        result
    }

    /// Passes the input that `input` makes of a ticket, at once.
    pub(super) fn call(self: &Arc<Self>, input: impl FnOnce(Ticket) -> Input) -> Call {
        let (sender, receiver) = oneshot::channel();
        self.update_cell(|cell, now| {
            let ticket = Ticket(cell.next_ticket);
            cell.next_ticket += 1;
            cell.calls.push((ticket, sender));
            cell.session.on(now, input(ticket), &mut cell.effects);
        });
        Call(receiver)
    }

    // ---- connections ------------------------------------------------------------------------

    /// Attaches `outbox` with the token of `key`: it gets every later frame, and the answer in progress from its start.
    /// Returns the highest `seq` before that; `None` if the session is gone, or has another token by now.
    pub fn attach(self: &Arc<Self>, key: SessionKey, outbox: Arc<Outbox>) -> Option<(ConnectionId, u64)> {
        self.update_cell(|cell, now| {
            let attached = cell.session.attach(now, key.rotations, &mut cell.effects);
            if let Some((id, _)) = attached {
                // Exactly: most sessions have one connection.
                cell.outboxes.reserve_exact(1);
                cell.outboxes.push((id, outbox));
                cell.token = key.token;
            }
            attached
        })
    }

    /// Returns the secret that resumes the session.
    pub fn token(&self) -> ResumeToken {
        self.cell().token.clone()
    }

    /// Detaches a connection. Its messages are still answered.
    pub fn detach(self: &Arc<Self>, id: ConnectionId) {
        self.update_cell(|cell, now| {
            cell.outboxes.retain(|(attached, _)| *attached != id);
            cell.session.on(now, Input::Detach(id), &mut cell.effects);
        });
    }

    /// Marks a connection whose client closed its sending side: it still receives, but may be gone for good.
    pub fn half_close(self: &Arc<Self>, id: ConnectionId) {
        self.on(Input::HalfClose(id));
    }

    /// Submits a message of connection `from`. The call completes once the message is accepted or rejected, and its
    /// result is published as a frame. The message is admitted, stored and answered without the caller.
    pub fn submit(self: &Arc<Self>, from: ConnectionId, message: Message) -> Call {
        self.call(|ticket| Input::Submit { from, message, ticket })
    }

    /// Stops the answer to message `id`, or removes the message from the queue. Returns true if it was in flight, here
    /// or on another core.
    pub async fn stop(self: &Arc<Self>, id: &MessageId) -> bool {
        let is_here = self.update_cell(|cell, now| {
            let is_here = cell.session.is_in_flight(id);
            cell.session.on(now, Input::Stop(id.clone()), &mut cell.effects);
            is_here
        });
        if is_here {
            return true;
        }
        let Some(cluster) = self.cluster() else { return false };
        let is_claimed = cluster.in_flight(self.user).await.is_some_and(|in_flight| in_flight.contains(id));
        if is_claimed {
            self.on(Input::StopRemotely(id.clone()));
        }
        is_claimed
    }

    // ---- help -------------------------------------------------------------------------------

    /// Assesses message `id` as it arrives, and sends the help that it calls for to every connection. Idempotent per id
    /// and text. Returns true if help was sent.
    pub fn assess(self: &Arc<Self>, id: &MessageId, text: &UserText) -> bool {
        self.update(|session, now, effects| session.assess(now, id, text, effects))
    }

    /// Uses the country that `text` names, if the help shown last has asked for it.
    pub fn adopt_answered_country(self: &Arc<Self>, text: &UserText) {
        self.update(|session, now, effects| session.adopt_answered_country(now, text, effects));
    }

    /// Takes over the assessment of a connection from before this session was opened.
    pub fn take_over(self: &Arc<Self>, watch: PreSessionWatch) {
        self.update(|session, now, effects| watch.hand_over(session, now, effects));
    }

    /// Stores shown help in the background, for a message that was rejected before submission.
    pub fn save_help_later(self: &Arc<Self>) {
        self.on(Input::SaveHelp);
    }

    /// Returns the risk in force.
    pub fn risk(&self) -> Risk {
        self.cell().session.risk(now())
    }

    /// Returns the line of help for a person who leaves while a level is remembered.
    pub fn parting_line(&self) -> Option<String> {
        self.cell().session.help_lines().at_parting(now())
    }

    /// Returns all help lines for the remembered need, as lines of the plain face.
    pub fn crisis_lines(&self) -> Vec<String> {
        self.cell().session.help_lines().on_request(now())
    }

    /// Returns the extra line of the plain face for `help`.
    pub fn help_line(&self, help: &Help) -> String {
        self.cell().session.help_lines().of(help, now())
    }

    // ---- person -----------------------------------------------------------------------------

    /// Returns the language of texts for the person.
    pub fn language(&self) -> Language {
        self.locale().language()
    }

    pub fn locale(&self) -> Locale {
        self.cell().session.locale()
    }

    /// Records the time zone of a client: a guess at the country.
    pub fn note_time_zone(&self, time_zone: &UserText) {
        self.cell().session.note_time_zone(time_zone);
    }

    /// Answers in another language from now on.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn set_locale(self: &Arc<Self>, locale: Locale) -> Result<(), SessionError> {
        self.call(|ticket| Input::SetLocale(locale, ticket)).await?;
        Ok(())
    }

    /// Uses the help lines of `country` from now on: the person chose or confirmed it. Recent help is sent again with
    /// these lines at once, whether or not the store answers.
    ///
    /// # Errors
    ///
    /// The store failed; the country applies anyway, while this session is live.
    pub async fn set_country(self: &Arc<Self>, country: Country) -> Result<(), SessionError> {
        let stored = self.call(|ticket| Input::SetCountry(country, ticket));
        self.resend_help();
        stored.await?;
        Ok(())
    }

    /// [`LiveSession::set_country`] without the help, for a face that sends it behind a line of its own.
    ///
    /// # Errors
    ///
    /// The store failed; the country applies anyway, while this session is live.
    pub async fn set_country_quietly(self: &Arc<Self>, country: Country) -> Result<(), SessionError> {
        self.call(|ticket| Input::SetCountry(country, ticket)).await?;
        Ok(())
    }

    /// Sends recent help again, with the lines of the country in force.
    pub fn resend_help(self: &Arc<Self>) {
        self.on(Input::ResendHelp);
    }

    /// Records use by the session's person at `now`. Returns the time of the next reminder.
    pub fn note_use(&self, now: Instant) -> Option<Instant> {
        self.uses().note(self.user, now.into_std()).map(Instant::from_std)
    }

    /// Sends the reminder to every connection if it is due at `now`. Returns the time of the next one.
    pub fn remind_if_due(
        self: &Arc<Self>,
        now: Instant,
        reminder: impl FnOnce(Language) -> protocol::ServerFrame,
    ) -> Option<Instant> {
        let (is_due, next) = self.uses().remind(self.user, now.into_std());
        if is_due {
            self.on(Input::Broadcast(reminder(self.language())));
        }
        next.map(Instant::from_std)
    }

    fn uses(&self) -> &ContinuousUse {
        self.sessions.uses()
    }

    // ---- state ------------------------------------------------------------------------------

    /// Returns true while a message is being admitted, waits or is answered.
    pub fn is_busy(&self) -> bool {
        self.cell().session.is_busy()
    }

    /// Replaces the resume token by `token`, and closes every connection but `from`.
    ///
    /// # Cancel safety
    ///
    /// Safe: the token is replaced, and the result dropped.
    ///
    /// # Errors
    ///
    /// The store failed; the token may or may not be replaced.
    pub async fn rotate_resume(self: &Arc<Self>, from: ConnectionId, token: ResumeToken) -> Result<(), SessionError> {
        self.call(|ticket| Input::RotateResume { from, token, ticket }).await?;
        Ok(())
    }

    /// Erases the last message with its help and its answer, which is stopped first. Returns its id, the number of entries
    /// removed, and the highest `seq` from then on.
    ///
    /// # Cancel safety
    ///
    /// Safe: the message is forgotten, and the result dropped.
    ///
    /// # Errors
    ///
    /// The store failed; the message may or may not be forgotten.
    pub async fn forget_last(
        self: &Arc<Self>,
        from: ConnectionId,
    ) -> Result<(Option<MessageId>, u64, u64), SessionError> {
        match self.call(|ticket| Input::ForgetLast { from, ticket }).await? {
            Completed::Forgotten { id, erased, seq } => Ok((id, erased, seq)),
            _ => Err(SessionError::Gone),
        }
    }

    /// Returns the summary of older messages; `None` without one.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn summary(self: &Arc<Self>) -> Result<Option<Summary>, SessionError> {
        let recent = self.sessions.turns().store.recent(self.user, 1).await;
        Ok(self.end_if_missing(recent)?.summary.filter(|summary| !summary.text.is_empty()))
    }

    /// Erases the summary. No later one draws on the messages so far.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn forget_summary(self: &Arc<Self>) -> Result<(), SessionError> {
        Ok(self.end_if_missing(self.sessions.turns().store.forget_summary(self.user).await)?)
    }

    /// Stores a code that opens the session on another device, once and for [`LINK_VALIDITY`].
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn link(self: &Arc<Self>) -> Result<LinkCode, SessionError> {
        let code = LinkCode::random();
        let valid_ms = i64::try_from(LINK_VALIDITY.as_millis()).unwrap_or(i64::MAX);
        let expires_at = Timestamp::from_unix_ms(now().unix_ms().saturating_add(valid_ms));
        let link = NewLink { code: code.clone(), token: self.token(), expires_at };
        self.end_if_missing(self.sessions.turns().store.put_link(self.user, link).await)?;
        Ok(code)
    }

    /// Erases the session from the store and ends it. Returns the number of entries; a session that is gone already
    /// counts as erased.
    ///
    /// # Cancel safety
    ///
    /// Safe: the session is erased, and the result dropped.
    ///
    /// # Errors
    ///
    /// The store failed; the session may or may not be erased.
    pub async fn erase(self: &Arc<Self>) -> Result<u64, SessionError> {
        match self.call(Input::Erase).await? {
            Completed::Erased(entries) => Ok(entries),
            _ => Ok(0),
        }
    }

    /// Keeps connection `id` open when the session ends: it awaits the response to its `erase`. Call it before the
    /// request begins, and [`LiveSession::end_erasure`] after it.
    pub fn await_erasure(&self, id: ConnectionId) {
        self.cell().session.await_erasure(id);
    }

    /// Ends [`LiveSession::await_erasure`], with the response or at its deadline. Returns the number of erased entries if
    /// the session is gone; the connection has no session then.
    pub fn end_erasure(&self, id: ConnectionId) -> Option<u64> {
        self.cell().session.end_erasure(id)
    }
}

impl AnswerSink for Arc<LiveSession> {
    fn on(&self, event: TurnEvent) {
        LiveSession::on(self, Input::Turn(event));
    }
}

impl Drop for LiveSession {
    fn drop(&mut self) {
        // Unsubscribe *before* deregistering: a session recreated in between must subscribe for itself, not lose its
        // subscription to this drop.
        if let Some(cluster) = self.cluster() {
            cluster.unsubscribe(self.user);
        }
        self.sessions.evict(self.user);
    }
}
