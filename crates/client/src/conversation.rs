//! One conversation over as many connections as it takes, as a state machine: frames and
//! wishes go in, events and frames to be sent come out. No sockets, no time, no chance.
//!
//! What it holds is bounded: own messages without an answer (`messages.rs`), texts under way
//! (`answers.rs`), requests (`requests.rs`), and the events of the frames it was given, which its
//! driver takes out before it gives it more.

mod answers;
mod errors;
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
use answers::{Answers, Taken};
use help::ShownHelp;
pub(crate) use messages::MAX_MESSAGES;
use messages::Messages;
use requests::Requests;
pub(crate) use resume_tokens::ResumeTokens;

/// Version of the protocol.
const VERSION: u64 = 1;
/// Most frames that may wait to be written.
const MAX_WAITING_FRAMES: usize = 64;

/// What this client says in its `hello`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Introduction {
    /// Secrets of the session to go on with, and of earlier ones.
    pub(crate) tokens: ResumeTokens,
    /// Highest `seq` the caller has; `None`: nothing from before is told.
    pub(crate) since: Option<u64>,
    pub(crate) locale: Option<Locale>,
    pub(crate) client: Option<UserText>,
    pub(crate) auth: Option<UserText>,
    pub(crate) country: Option<Country>,
    pub(crate) time_zone: Option<UserText>,
    /// Whether another session begins when the one to be resumed is gone.
    pub(crate) anew: bool,
    /// Own messages that may be on their way or being answered at the same time.
    pub(crate) window: usize,
    /// How often in all a message is sent that is refused for now.
    pub(crate) tries: u32,
}

/// What the driver has to do after a frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    /// Nothing.
    Continue,
    /// Leave this connection and open another one.
    Reconnect {
        /// Why.
        why: String,
        /// Not before this time has passed.
        after: Option<Duration>,
    },
    /// Reconnect after this time, once nothing is under way here.
    Drain(Duration),
    /// Release message `id` after that time: the server refuses it for now.
    Later {
        /// The message.
        id: MessageId,
        /// Not before this time has passed.
        after: Duration,
    },
    /// It is over.
    Close(Closed),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No connection.
    Offline,
    /// `hello` has no answer yet.
    Greeting,
    Open,
    /// Open, but what is new waits for the next connection.
    Draining,
}

#[derive(Debug)]
pub(crate) struct Conversation {
    introduction: Introduction,
    phase: Phase,
    /// Highest `seq` that was told; the next `since`.
    held: Option<u64>,
    session: Option<SessionId>,
    hello: Option<ClientFrame>,
    messages: Messages,
    answers: Answers,
    requests: Requests,
    /// Messages whose help was told before it was stored.
    shown_help: ShownHelp,
    out: VecDeque<ClientFrame>,
    events: VecDeque<Event>,
    leaving: bool,
}

impl Conversation {
    pub(crate) fn new(introduction: Introduction) -> Self {
        let (held, messages) = (introduction.since, Messages::new(introduction.window));
        Self {
            introduction,
            phase: Phase::Offline,
            held,
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

    // ---- what the caller wants --------------------------------------------------------------

    /// Sends a message, now or when there is a connection with room for it.
    pub(crate) fn send(&mut self, id: MessageId, text: UserText) -> Result<(), SendError> {
        self.messages.add(id.clone(), text)?;
        // Who asks for an answer again is to hear it again.
        self.answers.unsettle(&id);
        self.fill();
        Ok(())
    }

    /// Ends an answer.
    pub(crate) fn stop(&mut self, id: MessageId) -> Result<(), SendError> {
        if MAX_WAITING_FRAMES <= self.out.len() {
            return Err(SendError::Full);
        }
        // What the server has never seen, or does not answer now, needs no stop.
        if self.messages.withdraw(&id) {
            self.answers.forget(&id);
            return Ok(());
        }
        self.messages.stopping(&id);
        self.out.push_back(ClientFrame::Stop { id });
        Ok(())
    }

    /// Asks something; an earlier request that nobody waits for any more is forgotten.
    pub(crate) fn request(&mut self, request: Request) {
        if self.is_open() {
            self.out.push_back(ClientFrame::Request(request.clone()));
        }
        self.requests.begin(request);
    }

    /// The result of request `id`, once it is there.
    pub(crate) fn take_result(&mut self, id: &MessageId) -> Option<Result<ResponseResult, RequestError>> {
        self.requests.take(id)
    }

    /// The request was not answered in time.
    pub(crate) fn fail_request(&mut self, error: RequestError) {
        self.requests.fail(error);
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&mut self) {
        if self.is_open() {
            self.out.push_back(ClientFrame::Ping { id: None });
        }
    }

    /// Says good-bye, if there is somebody to say it to.
    pub(crate) fn bye(&mut self) -> bool {
        self.leaving = true;
        if self.is_open() {
            self.out.push_back(ClientFrame::Bye);
        }
        self.is_open()
    }

    /// The language of the next `hello`.
    pub(crate) fn remember_locale(&mut self, locale: Locale) {
        self.introduction.locale = Some(locale);
    }

    /// The country of the next `hello`.
    pub(crate) fn remember_country(&mut self, country: Country) {
        self.introduction.country = Some(country);
    }

    /// Message `id` was refused for a while, which is over.
    pub(crate) fn release(&mut self, id: &MessageId) {
        self.messages.release(id);
        self.fill();
    }

    // ---- what the driver tells and takes ----------------------------------------------------

    /// A connection is there.
    pub(crate) fn connected(&mut self) {
        self.phase = Phase::Greeting;
        self.introduction.tokens.rewind();
        self.hello = Some(self.introduce());
    }

    /// The connection is gone.
    pub(crate) fn disconnected(&mut self) {
        self.phase = Phase::Offline;
        self.hello = None;
        self.messages.cut();
        self.answers.cut();
        self.requests.cut();
        // What was not written is made again, but for this.
        self.out.retain(|frame| matches!(frame, ClientFrame::Stop { .. }));
    }

    /// The next frame to write.
    pub(crate) fn next_frame(&mut self) -> Option<ClientFrame> {
        match self.phase {
            Phase::Offline => None,
            Phase::Greeting => self.hello.take(),
            Phase::Open | Phase::Draining => self.out.pop_front(),
        }
    }

    pub(crate) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn waiting_events(&self) -> usize {
        self.events.len()
    }

    /// Whether there was a `welcome` on this connection.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Draining)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase == Phase::Draining
    }

    /// Whether `bye` was said.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether this connection owes an answer.
    pub(crate) fn is_busy(&self) -> bool {
        self.messages.on_wire() || self.answers.under_way() || self.requests.is_pending()
    }

    /// Own messages without an answer.
    pub(crate) fn open_messages(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn resume_token(&self) -> Option<&UserText> {
        self.introduction.tokens.current()
    }

    pub(crate) fn earlier_resume_tokens(&self) -> &[UserText] {
        self.introduction.tokens.earlier()
    }

    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    pub(crate) fn held(&self) -> Option<u64> {
        self.held
    }

    /// Tells an event of the driver's own.
    pub(crate) fn tell(&mut self, event: Event) {
        // A backlog of pieces becomes one.
        if let (Event::Delta { id, text, .. }, Some(Event::Delta { id: last, text: told, .. })) =
            (&event, self.events.back_mut())
            && id == last
        {
            return told.push(text);
        }
        self.events.push_back(event);
    }

    /// Takes a frame of the server.
    pub(crate) fn on_frame(&mut self, frame: ServerFrame) -> Next {
        if !self.is_open() {
            return match frame {
                ServerFrame::Welcome(welcome) if self.phase == Phase::Greeting => self.on_welcome(welcome),
                ServerFrame::Error(error) if self.phase == Phase::Greeting => self.on_refusal(error),
                // Nothing else belongs here.
                _ => Next::Continue,
            };
        }
        match frame {
            ServerFrame::Welcome(_) | ServerFrame::Pong { .. } => Next::Continue,
            ServerFrame::Turn(entry) => self.on_turn(entry),
            ServerFrame::Accepted { id, seq, .. } => self.on_accepted(id, seq),
            ServerFrame::Queued { id, ahead } => self.on_queued(id, ahead),
            ServerFrame::Support(support) => self.on_support(*support),
            ServerFrame::Delta { id, offset, text, .. } => self.on_delta(id, offset, text),
            ServerFrame::Done(done) => self.on_done(*done),
            ServerFrame::Response { id, result } => self.on_response(&id, result),
            ServerFrame::Error(error) => self.on_error(error),
            ServerFrame::Notice { code, text, reconnect_in_ms } => {
                self.tell(Event::Notice { code, text, reconnect_in_ms });
                match reconnect_in_ms.filter(|_| code == NoticeCode::Draining) {
                    Some(after_ms) => {
                        self.phase = Phase::Draining;
                        Next::Drain(Duration::from_millis(after_ms))
                    }
                    None => Next::Continue,
                }
            }
        }
    }

    // ---- frames -----------------------------------------------------------------------------

    fn introduce(&self) -> ClientFrame {
        let Introduction { locale, client, auth, country, time_zone, .. } = self.introduction.clone();
        let resume = self.introduction.tokens.offered().cloned();
        // What is held belongs to the current session; of another one nothing is replayed.
        let since = self.introduction.tokens.offers_current().then_some(self.held).flatten();
        ClientFrame::Hello(Hello { v: VERSION, resume, since, locale, client, auth, country, time_zone })
    }

    fn on_welcome(&mut self, welcome: Box<Welcome>) -> Next {
        self.phase = Phase::Open;
        if !self.introduction.tokens.offers_current() && welcome.resumed {
            self.leave_session();
            self.tell(Event::EarlierSession);
        }
        self.introduction.tokens.welcomed(welcome.resume.clone());
        self.session = Some(welcome.session.clone());
        // What comes next is the first entry behind the ones we hold and those that are missed.
        // A server that has lost entries begins again where it is.
        let from = self.held.filter(|_| welcome.resumed).map(|held| held + welcome.missed.unwrap_or_default());
        self.held = Some(from.unwrap_or(welcome.seq).min(welcome.seq));
        self.tell(Event::Connected(welcome));
        // What is to be stopped has to be known here first.
        let stops = std::mem::take(&mut self.out);
        if let Some(request) = self.requests.open() {
            self.out.push_back(ClientFrame::Request(request.clone()));
        }
        self.fill();
        self.out.extend(stops);
        Next::Continue
    }

    /// Puts messages on the wire as long as there is room in the window: those that the last
    /// connection has not seen the end of first, with their ids, then new ones. Accepted ones
    /// too: a server that died in mid-answer gives the answer when it hears the id again.
    fn fill(&mut self) {
        if self.phase == Phase::Open {
            while let Some(frame) = self.messages.next() {
                self.out.push_back(frame);
            }
        }
    }

    /// Notes that entry `seq` is told now; false if it was before.
    fn advance(&mut self, seq: u64) -> bool {
        let news = self.held.is_none_or(|held| held < seq);
        if news {
            self.held = Some(seq);
        }
        news
    }

    fn on_turn(&mut self, entry: Entry) -> Next {
        if !self.advance(entry.seq) {
            return Next::Continue;
        }
        let own = self.messages.contains(&entry.id);
        match entry.role {
            Role::User if own => {
                if self.messages.accept(&entry.id) {
                    self.tell(Event::Accepted { id: entry.id, seq: entry.seq });
                }
            }
            Role::Assistant if own || self.answers.is_under_way(&entry.id) => self.finish_stored(entry),
            // The same help as in the frame that came while it was not stored.
            Role::Support if self.shown_help.take(&entry.id) => {}
            Role::User | Role::Assistant | Role::Support => self.tell(Event::Turn(entry)),
        }
        Next::Continue
    }

    /// An answer that was completed while we were away: what is missing of it, and its end.
    fn finish_stored(&mut self, entry: Entry) {
        let answered = Answered::stored(&entry);
        let Entry { id, text, .. } = entry;
        let taken = self.answers.complete(&id, text);
        self.tell_taken(&id, taken);
        self.end_own(&id);
        self.tell(Event::Done(answered));
        self.fill();
    }

    /// Message `id` has its answer. If it was sent again, that may still be on its way to the
    /// server, which then tells the answer a second time.
    fn end_own(&mut self, id: &MessageId) {
        let repeated = self.messages.is_repeated(id);
        if self.messages.remove(id) && repeated && !self.withdraw_frame(id) {
            self.answers.settle(id);
        }
    }

    /// Takes message `id` out of what is to be written; false if it is on its way already.
    fn withdraw_frame(&mut self, id: &MessageId) -> bool {
        let before = self.out.len();
        self.out.retain(|frame| !matches!(frame, ClientFrame::Message { id: sent, .. } if sent == id));
        self.out.len() < before
    }

    fn on_accepted(&mut self, id: MessageId, seq: u64) -> Next {
        // Of another device's messages the `turn` tells.
        if self.messages.accept(&id) {
            self.advance(seq);
            self.tell(Event::Accepted { id, seq });
        }
        Next::Continue
    }

    fn on_queued(&mut self, id: MessageId, ahead: usize) -> Next {
        if self.messages.contains(&id) {
            self.tell(Event::Queued { id, ahead });
        }
        Next::Continue
    }

    fn on_delta(&mut self, id: MessageId, offset: usize, text: UserText) -> Next {
        let taken = self.answers.take(&id, offset, text);
        if let Taken::Gap = taken {
            return gap();
        }
        self.tell_taken(&id, taken);
        Next::Continue
    }

    fn on_done(&mut self, done: Done) -> Next {
        if self.answers.is_settled(&done.id) {
            return Next::Continue;
        }
        let known = self.messages.contains(&done.id) || self.answers.is_under_way(&done.id);
        let news = done.seq.is_none_or(|seq| self.held.is_none_or(|held| held < seq));
        if !known && !news {
            return Next::Continue;
        }
        let taken = self.answers.end(&done.id, done.chars);
        if let Taken::Gap = taken {
            return gap();
        }
        self.tell_taken(&done.id, taken);
        if let Some(seq) = done.seq {
            self.advance(seq);
        }
        self.end_own(&done.id);
        self.tell(Event::Done(done.into()));
        self.fill();
        Next::Continue
    }

    fn tell_taken(&mut self, id: &MessageId, taken: Taken) {
        match taken {
            Taken::Nothing | Taken::Gap => {}
            Taken::More { offset, text } => self.tell(Event::Delta { id: id.clone(), offset, text }),
            Taken::Other(text) => {
                self.tell(Event::Restarted { id: id.clone() });
                if !text.is_empty() {
                    self.tell(Event::Delta { id: id.clone(), offset: 0, text });
                }
            }
        }
    }
}

/// Text is missing that the server thinks we have. A resume brings it.
fn gap() -> Next {
    Next::Reconnect { why: "part of an answer is missing".to_owned(), after: None }
}
