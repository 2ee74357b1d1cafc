//! Sans-I/O state machine of one conversation across reconnects: server frames and caller
//! commands go in; events and outgoing frames come out. No sockets, no clock, no randomness.
//!
//! All state is bounded: pending messages (`messages.rs`), partial answers (`answers.rs`),
//! requests (`requests.rs`), and the events of one frame, which the driver takes before it
//! passes the next.

mod answers;
mod errors;
mod forgotten;
mod help;
mod messages;
#[cfg(test)]
mod model;
mod requests;
mod resume_tokens;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use protocol::client_frame::{Hello, Request};
use protocol::server_frame::{Done, Entry, NoticeCode, ResponseResult, Role, Welcome};
use protocol::{ClientFrame, Country, Locale, MessageId, ServerFrame, SessionId, UserText};

use crate::error::{RequestError, SendError};
use crate::event::{Answered, Closed, Event};
use answers::{Answers, DeltaOutcome};
use help::ShownHelp;
pub(crate) use messages::MAX_MESSAGES;
use messages::Messages;
pub(crate) use requests::FORGET_LAST;
use requests::Requests;
pub(crate) use resume_tokens::ResumeTokens;

/// Protocol version sent in `hello`.
const VERSION: u64 = 1;
/// Limit of queued outgoing frames, so that stops cannot grow the queue without bound.
const MAX_WAITING_FRAMES: usize = 64;

/// Options of the session: fields of `hello`, send window and attempts.
#[derive(Debug, Clone, Default)]
pub(crate) struct SessionOptions {
    /// Resume tokens of the current and of earlier sessions.
    pub(crate) tokens: ResumeTokens,
    /// Highest `seq` the caller has; `None` replays nothing.
    pub(crate) since: Option<u64>,
    pub(crate) locale: Option<Locale>,
    pub(crate) client: Option<UserText>,
    pub(crate) auth: Option<UserText>,
    pub(crate) country: Option<Country>,
    pub(crate) time_zone: Option<UserText>,
    /// `Some(false)`: a new session is not stored.
    pub(crate) keep: Option<bool>,
    /// Accept an earlier or a new session when the server does not know the current one.
    pub(crate) allow_new_session: bool,
    /// Own messages that may be in flight at the same time.
    pub(crate) window: usize,
    /// Attempts in total for a message refused with a retryable code.
    pub(crate) send_attempts: u32,
}

/// Action for the driver after a frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    Continue,
    /// Drop this connection and reconnect.
    Reconnect {
        /// Reason, for the event and the log.
        why: String,
        /// Minimum delay requested by the server.
        after: Option<Duration>,
    },
    /// Reconnect after this delay, once the connection owes no answer.
    Drain(Duration),
    /// Call `release(id)` after the delay: the server refused the message with a retryable code.
    Retry {
        /// The deferred message.
        id: MessageId,
        /// Minimum delay requested by the server.
        after: Duration,
    },
    /// End the conversation for good.
    Close(Closed),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Offline,
    /// `hello` is unanswered.
    Handshake,
    Open,
    /// Open, but new messages wait for the next connection.
    Draining,
}

#[derive(Debug)]
pub(crate) struct Conversation {
    options: SessionOptions,
    phase: Phase,
    /// Highest `seq` delivered; `since` of the next `hello`.
    last_seq: Option<u64>,
    session: Option<SessionId>,
    hello: Option<ClientFrame>,
    messages: Messages,
    answers: Answers,
    requests: Requests,
    shown_help: ShownHelp,
    out: VecDeque<ClientFrame>,
    events: VecDeque<Event>,
    leaving: bool,
}

impl Conversation {
    pub(crate) fn new(options: SessionOptions) -> Self {
        let (last_seq, messages) = (options.since, Messages::new(options.window));
        Self {
            options,
            phase: Phase::Offline,
            last_seq,
            session: None,
            hello: None,
            messages,
            answers: Answers::default(),
            requests: Requests::default(),
            shown_help: ShownHelp::default(),
            out: VecDeque::new(),
            events: VecDeque::new(),
            leaving: false,
        }
    }

    // ---- caller commands --------------------------------------------------------------------

    /// Queues a message; it is sent once a connection is open and the window has room.
    pub(crate) fn send(&mut self, id: MessageId, text: UserText) -> Result<(), SendError> {
        self.messages.add(id.clone(), text)?;
        // An explicit resend re-delivers an answer that was delivered before.
        self.answers.redeliver(&id);
        self.fill_window();
        Ok(())
    }

    /// Cancels the answer to `id`, or withdraws the message if no server has it.
    pub(crate) fn stop(&mut self, id: MessageId) -> Result<(), SendError> {
        if MAX_WAITING_FRAMES <= self.out.len() {
            return Err(SendError::Full);
        }
        // The server has no such message, or refused it: nothing to stop there.
        if self.messages.withdraw(&id) {
            self.answers.forget(&id);
            return Ok(());
        }
        self.messages.mark_stopping(&id);
        self.out.push_back(ClientFrame::Stop { id });
        Ok(())
    }

    /// Starts a request; an earlier pending one is abandoned.
    pub(crate) fn request(&mut self, request: Request) {
        if self.is_open() {
            self.out.push_back(ClientFrame::Request(request.clone()));
        }
        self.requests.begin(request);
    }

    /// Takes the result of request `id`, if it has arrived.
    pub(crate) fn take_result(&mut self, id: &MessageId) -> Option<Result<ResponseResult, RequestError>> {
        self.requests.take(id)
    }

    /// Fails the pending request with `error`.
    pub(crate) fn fail_request(&mut self, error: RequestError) {
        self.requests.fail(error);
    }

    pub(crate) fn ping(&mut self) {
        if self.is_open() {
            self.out.push_back(ClientFrame::Ping { id: None });
        }
    }

    /// Queues `bye`; returns false if no connection is open to send it on.
    pub(crate) fn bye(&mut self) -> bool {
        self.leaving = true;
        if self.is_open() {
            self.out.push_back(ClientFrame::Bye);
        }
        self.is_open()
    }

    /// Sets the locale of later `hello`s.
    pub(crate) fn remember_locale(&mut self, locale: Locale) {
        self.options.locale = Some(locale);
    }

    /// Sets the country of later `hello`s.
    pub(crate) fn remember_country(&mut self, country: Country) {
        self.options.country = Some(country);
    }

    /// Makes deferred message `id` eligible for its next attempt.
    pub(crate) fn release(&mut self, id: &MessageId) {
        self.messages.release(id);
        self.fill_window();
    }

    // ---- driver interface -------------------------------------------------------------------

    /// Starts the handshake on a new connection.
    pub(crate) fn connected(&mut self) {
        self.phase = Phase::Handshake;
        self.options.tokens.rewind();
        self.hello = Some(self.hello_frame());
    }

    /// Resets all per-connection state.
    pub(crate) fn disconnected(&mut self) {
        self.phase = Phase::Offline;
        self.hello = None;
        self.messages.on_disconnect();
        self.answers.on_disconnect();
        self.requests.on_disconnect();
        // Messages and requests are queued again after the next welcome; a stop exists only here.
        self.out.retain(|frame| matches!(frame, ClientFrame::Stop { .. }));
    }

    pub(crate) fn next_frame(&mut self) -> Option<ClientFrame> {
        match self.phase {
            Phase::Offline => None,
            Phase::Handshake => self.hello.take(),
            Phase::Open | Phase::Draining => self.out.pop_front(),
        }
    }

    pub(crate) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn pending_events(&self) -> usize {
        self.events.len()
    }

    /// True from `welcome` to the end of the connection.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Draining)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase == Phase::Draining
    }

    /// True once `bye` was requested.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// True while this connection owes an answer or a response.
    pub(crate) fn is_busy(&self) -> bool {
        self.messages.in_flight() || self.answers.any_started() || self.requests.is_pending()
    }

    /// Number of own messages without an answer.
    pub(crate) fn open_messages(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn resume_token(&self) -> Option<&UserText> {
        self.options.tokens.current()
    }

    pub(crate) fn earlier_resume_tokens(&self) -> &[UserText] {
        self.options.tokens.earlier()
    }

    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    pub(crate) fn last_seq(&self) -> Option<u64> {
        self.last_seq
    }

    /// Queues an event for the caller.
    pub(crate) fn emit(&mut self, event: Event) {
        // Deltas that the caller has not taken yet are joined, so that a slow caller bounds memory by text.
        if let (Event::Delta { id, text, .. }, Some(Event::Delta { id: last, text: queued, .. })) =
            (&event, self.events.back_mut())
            && id == last
        {
            return queued.push(text);
        }
        self.events.push_back(event);
    }

    /// Processes a server frame.
    pub(crate) fn on_frame(&mut self, frame: ServerFrame) -> Action {
        if !self.is_open() {
            return match frame {
                ServerFrame::Welcome(welcome) if self.phase == Phase::Handshake => self.on_welcome(welcome),
                ServerFrame::Error(error) if self.phase == Phase::Handshake => self.on_hello_error(error),
                // No other frame is valid before `welcome`.
                _ => Action::Continue,
            };
        }
        match frame {
            ServerFrame::Welcome(_) | ServerFrame::Pong { .. } => Action::Continue,
            ServerFrame::Turn(entry) => self.on_turn(entry),
            ServerFrame::Accepted { id, seq, .. } => self.on_accepted(id, seq),
            ServerFrame::Queued { id, ahead } => self.on_queued(id, ahead),
            ServerFrame::Support(support) => self.on_support(*support),
            ServerFrame::Delta { id, offset, text, .. } => self.on_delta(id, offset, text),
            ServerFrame::Done(done) => self.on_done(*done),
            ServerFrame::Forgotten(forgotten) => self.on_forgotten(&forgotten.id, Some(forgotten.seq)),
            ServerFrame::Response { id, result } => self.on_response(&id, result),
            ServerFrame::Error(error) => self.on_error(error),
            ServerFrame::Notice { code, text, reconnect_in_ms } => {
                self.emit(Event::Notice { code, text, reconnect_in_ms });
                match reconnect_in_ms.filter(|_| code == NoticeCode::Draining) {
                    Some(after_ms) => {
                        self.phase = Phase::Draining;
                        Action::Drain(Duration::from_millis(after_ms))
                    }
                    None => Action::Continue,
                }
            }
        }
    }

    // ---- frames -----------------------------------------------------------------------------

    fn hello_frame(&self) -> ClientFrame {
        let SessionOptions { locale, client, auth, country, time_zone, keep, .. } = self.options.clone();
        let resume = self.options.tokens.offered().cloned();
        // `last_seq` belongs to the current session: another session must not be asked to replay from it.
        let since = self.options.tokens.offers_current().then_some(self.last_seq).flatten();
        ClientFrame::Hello(Hello { v: VERSION, resume, since, locale, client, auth, country, time_zone, keep })
    }

    fn on_welcome(&mut self, welcome: Box<Welcome>) -> Action {
        self.phase = Phase::Open;
        if !self.options.tokens.offers_current() && welcome.resumed {
            self.reset_session();
            self.emit(Event::EarlierSession);
        }
        self.options.tokens.welcomed(welcome.resume.clone());
        self.session = Some(welcome.session.clone());
        // The next entry follows those delivered and those missed. A server that has lost entries
        // (restored from a backup) continues from its own, lower, `seq`.
        let from = self.last_seq.filter(|_| welcome.resumed).map(|last| last + welcome.missed.unwrap_or_default());
        self.last_seq = Some(from.unwrap_or(welcome.seq).min(welcome.seq));
        self.emit(Event::Connected(welcome));
        // Stops follow the resent messages: a server that does not know the message rejects its stop.
        let stops = std::mem::take(&mut self.out);
        if let Some(request) = self.requests.open() {
            self.out.push_back(ClientFrame::Request(request.clone()));
        }
        self.fill_window();
        self.out.extend(stops);
        Action::Continue
    }

    /// Queues messages until the window is full: unfinished ones of the last connection first,
    /// then new ones. Accepted ones are resent too, because a server restarted mid-answer
    /// answers only when it receives the id again.
    fn fill_window(&mut self) {
        if self.phase == Phase::Open {
            while let Some(frame) = self.messages.next() {
                self.out.push_back(frame);
            }
        }
    }

    /// Marks entry `seq` as delivered; false if it was before.
    fn advance(&mut self, seq: u64) -> bool {
        let news = self.last_seq.is_none_or(|last| last < seq);
        if news {
            self.last_seq = Some(seq);
        }
        news
    }

    fn on_turn(&mut self, entry: Entry) -> Action {
        if !self.advance(entry.seq) {
            return Action::Continue;
        }
        let own = self.messages.contains(&entry.id);
        match entry.role {
            Role::User if own => {
                if self.messages.accept(&entry.id) {
                    self.emit(Event::Accepted { id: entry.id, seq: entry.seq });
                }
            }
            Role::Assistant if own || self.answers.is_in_progress(&entry.id) => self.finish_stored(entry),
            // The same help was delivered as a `support` frame before it was stored.
            Role::Support if self.shown_help.take(&entry.id) => {}
            Role::User | Role::Assistant | Role::Support => self.emit(Event::Turn(entry)),
        }
        Action::Continue
    }

    /// Delivers the missing text and the end of an answer completed while offline.
    fn finish_stored(&mut self, entry: Entry) {
        let answered = Answered::stored(&entry);
        let Entry { id, text, .. } = entry;
        let outcome = self.answers.complete(&id, text);
        self.emit_outcome(&id, outcome);
        self.finish_own(&id);
        self.emit(Event::Done(answered));
        self.fill_window();
    }

    /// Finishes own message `id`. A resend that is already written makes the server send the
    /// answer a second time, which must be ignored.
    fn finish_own(&mut self, id: &MessageId) {
        let repeated = self.messages.is_repeated(id);
        if self.messages.remove(id) && repeated && !self.withdraw_frame(id) {
            self.answers.mark_delivered(id);
        }
    }

    /// Removes message `id` from the outgoing queue; false if it was already written.
    fn withdraw_frame(&mut self, id: &MessageId) -> bool {
        let before = self.out.len();
        self.out.retain(|frame| !matches!(frame, ClientFrame::Message { id: sent, .. } if sent == id));
        self.out.len() < before
    }

    fn on_accepted(&mut self, id: MessageId, seq: u64) -> Action {
        // Messages of other devices are delivered as `turn`.
        if self.messages.accept(&id) {
            self.advance(seq);
            self.emit(Event::Accepted { id, seq });
        }
        Action::Continue
    }

    fn on_queued(&mut self, id: MessageId, ahead: usize) -> Action {
        if self.messages.contains(&id) {
            self.emit(Event::Queued { id, ahead });
        }
        Action::Continue
    }

    fn on_delta(&mut self, id: MessageId, offset: usize, text: UserText) -> Action {
        let outcome = self.answers.apply_delta(&id, offset, text);
        if let DeltaOutcome::Gap = outcome {
            return gap();
        }
        self.emit_outcome(&id, outcome);
        Action::Continue
    }

    fn on_done(&mut self, done: Done) -> Action {
        if self.answers.is_delivered(&done.id) {
            return Action::Continue;
        }
        let known = self.messages.contains(&done.id) || self.answers.is_in_progress(&done.id);
        let news = done.seq.is_none_or(|seq| self.last_seq.is_none_or(|last| last < seq));
        // A replay has delivered this answer as a stored entry.
        if !known && !news {
            return Action::Continue;
        }
        let outcome = self.answers.end(&done.id, done.chars);
        if let DeltaOutcome::Gap = outcome {
            return gap();
        }
        self.emit_outcome(&done.id, outcome);
        if let Some(seq) = done.seq {
            self.advance(seq);
        }
        self.finish_own(&done.id);
        self.emit(Event::Done(done.into()));
        self.fill_window();
        Action::Continue
    }

    fn emit_outcome(&mut self, id: &MessageId, outcome: DeltaOutcome) {
        match outcome {
            DeltaOutcome::Duplicate | DeltaOutcome::Gap => {}
            DeltaOutcome::Appended { offset, text } => self.emit(Event::Delta { id: id.clone(), offset, text }),
            DeltaOutcome::Replaced(text) => {
                self.emit(Event::Restarted { id: id.clone() });
                if !text.is_empty() {
                    self.emit(Event::Delta { id: id.clone(), offset: 0, text });
                }
            }
        }
    }
}

/// Reconnects because text is missing that the server assumes delivered: a resume replays it.
fn gap() -> Action {
    Action::Reconnect { why: "part of an answer is missing".to_owned(), after: None }
}
