//! The driver: a conversation with sockets and time.

mod builder;
mod requests;
mod times;

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use protocol::{Country, Locale, MessageId, SessionId, UserText};
use tokio::time::{Instant, Sleep};

use crate::address::Address;
use crate::backoff::Backoff;
use crate::conversation::{Conversation, Next};
use crate::error::{ConnectError, SendError};
use crate::event::{Closed, Event};
use crate::wire::{Tls, Wire, WireError};
pub use builder::Builder;
use builder::Settings;
pub use requests::{Page, SessionInfo};

/// Time for the server to close after a good-bye. It is written when that begins; to wait longer would
/// only keep the person.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

type Opening = Pin<Box<dyn Future<Output = Result<Wire, WireError>> + Send + Sync>>;

/// A conversation with PsicoIA that survives its connections.
///
/// There is no task behind it: everything happens while [`Client::next_event`] or a request is
/// awaited, so whoever owns a client also owns its life, dropping it ends it, and what is not
/// read from it is not read from the socket either. A client that waits for something else for
/// longer than [`Builder::silence`] should do so in a `select!` beside `next_event`.
pub struct Client {
    address: Address,
    tls: Option<Tls>,
    settings: Settings,
    conversation: Conversation,
    link: Link,
    /// There was a welcome, on this connection or an earlier one.
    greeted: bool,
    backoff: Backoff,
    times: times::Times,
    /// Messages that the server wants to have later, and when.
    later: Vec<(Instant, MessageId)>,
    timer: Pin<Box<Sleep>>,
}

enum Link {
    /// No connection until then.
    Down(Instant),
    Opening(Opening),
    Up(Wire),
    Over,
}

impl Client {
    /// A client for `address`, to be set up.
    pub fn builder(address: Address) -> Builder {
        Builder::new(address)
    }

    /// The next event; `None` after [`Event::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.conversation.next_event() {
                return Some(event);
            }
            if matches!(self.link, Link::Over) {
                return None;
            }
            self.step().await;
        }
    }

    /// Sends a message under an id of its own, which is returned.
    ///
    /// Returns at once: the message is on its way when the client is awaited next, and is sent
    /// again after a reconnect until its answer is there, so that it is neither lost nor
    /// answered twice. It does not wait for the answers to earlier ones, unless [`Builder::window`] says so.
    /// It ends with [`Event::Done`] or [`Event::Refused`].
    ///
    /// # Errors
    ///
    /// The text cannot be a message, or too many wait. Nothing was sent.
    pub fn send(&mut self, text: impl Into<String>) -> Result<MessageId, SendError> {
        let id = MessageId::random();
        self.send_as(id.clone(), text)?;
        Ok(id)
    }

    /// Sends a message under `id`, the idempotency key in its session. For an id that has its
    /// answer already the server gives that one again.
    ///
    /// # Errors
    ///
    /// As [`Client::send`]. An id that is under way is no error, and changes nothing.
    pub fn send_as(&mut self, id: MessageId, text: impl Into<String>) -> Result<(), SendError> {
        if matches!(self.link, Link::Over) {
            return Err(SendError::Closed);
        }
        self.conversation.send(id, UserText::new(text))
    }

    /// Ends the answer to message `id`; [`Event::Done`] follows with what there is of it. A
    /// message that no server has seen is taken back without an event.
    ///
    /// # Errors
    ///
    /// Too many frames wait to be sent.
    pub fn stop(&mut self, id: &MessageId) -> Result<(), SendError> {
        self.conversation.stop(id.clone())
    }

    /// Says good-bye and waits, for a second at most, until the server has closed; a connection on which it
    /// owes a sign of life is left at once. Events that come meanwhile are lost. What was not accepted is
    /// not sent any more.
    pub async fn leave(mut self) {
        if !self.times.awaits_pong() && self.conversation.bye() {
            let limit = self.settings.connect_limit.min(LEAVE_LIMIT);
            // Too late is as good as gone: the connection ends with us.
            let _ = tokio::time::timeout(limit, async { while self.next_event().await.is_some() {} }).await;
        }
    }

    /// The secret that resumes the session, once there is one. To be kept like a password.
    pub fn resume_token(&self) -> Option<&UserText> {
        self.conversation.resume_token()
    }

    /// The secrets of earlier sessions, newest first: those given, and those the server did not know.
    pub fn earlier_resume_tokens(&self) -> &[UserText] {
        self.conversation.earlier_resume_tokens()
    }

    /// The session's public id, once there is one.
    pub fn session_id(&self) -> Option<&SessionId> {
        self.conversation.session()
    }

    /// The highest `seq` that was told or that the client was told to have; what
    /// [`Builder::since`] takes.
    pub fn last_seq(&self) -> Option<u64> {
        self.conversation.held()
    }

    /// Own messages that have no answer yet, on their way or waiting for a connection.
    pub fn unanswered(&self) -> usize {
        self.conversation.open_messages()
    }

    /// Whether there is a connection on which the server has said `welcome`.
    pub fn is_connected(&self) -> bool {
        self.conversation.is_open()
    }

    /// Waits for the first welcome.
    async fn first(mut self) -> Result<Self, ConnectError> {
        loop {
            if self.conversation.is_open() {
                return Ok(self);
            }
            if let Link::Over = self.link {
                let mut closed = Closed::Ended;
                while let Some(event) = self.conversation.next_event() {
                    if let Event::Closed { reason } = event {
                        closed = reason;
                    }
                }
                return Err(ConnectError { closed });
            }
            self.step().await;
        }
    }

    /// Waits for something to happen. Cancel safe: all state is in `self`.
    async fn step(&mut self) {
        poll_fn(|cx| self.poll_step(cx)).await;
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_link(cx).is_ready() {
            return Poll::Ready(());
        }
        self.poll_timer(cx)
    }

    fn poll_link(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.link {
            Link::Over => Poll::Ready(()),
            Link::Down(_) => Poll::Pending,
            Link::Opening(opening) => opening.as_mut().poll(cx).map(|opened| match opened {
                Ok(wire) => {
                    self.link = Link::Up(wire);
                    self.conversation.connected();
                }
                Err(error) => self.lost(error, None),
            }),
            Link::Up(wire) => {
                let (conversation, times) = (&mut self.conversation, &mut self.times);
                let sent = wire.poll_send(cx, &mut || {
                    let frame = conversation.next_frame();
                    if frame.is_some() {
                        times.said();
                    }
                    frame
                });
                if let Poll::Ready(Err(error)) = sent {
                    self.lost(error, None);
                    return Poll::Ready(());
                }
                wire.poll_frame(cx).map(|frame| self.on_frame(frame))
            }
        }
    }

    fn on_frame(&mut self, frame: Result<Option<protocol::ServerFrame>, WireError>) {
        self.times.heard();
        let next = match frame {
            Ok(None) => return,
            Ok(Some(frame)) => self.conversation.on_frame(frame),
            Err(error) => return self.lost(error, None),
        };
        match next {
            Next::Continue => {
                if self.times.welcomed(self.conversation.is_open()) {
                    self.greeted = true;
                    self.arm();
                }
                self.drained();
            }
            Next::Reconnect { why, after } => self.lost(WireError::Lost(why), after),
            Next::Drain(after) => {
                self.times.drain(after);
                self.arm();
            }
            Next::Later { id, after } => {
                // Up to a quarter later, so that those who were refused together do not come back together.
                let jitter = after.mul_f64(0.25 * fastrand::f64());
                self.later.push((Instant::now() + after + jitter, id));
                self.arm();
            }
            Next::Close(closed) => self.over(closed),
        }
    }

    /// The connection is gone, or as good as gone: plans the next one.
    fn lost(&mut self, error: WireError, asked: Option<Duration>) {
        self.conversation.disconnected();
        let leaving = self.conversation.is_leaving();
        match error {
            WireError::End | WireError::Lost(_) | WireError::Ended if leaving => return self.over(Closed::Bye),
            WireError::Ended => return self.over(Closed::Ended),
            // A server that has let us in before is behind something else for now: a captive portal, say.
            WireError::Refused(_) if self.greeted && !self.times.was_welcomed() => {}
            WireError::Refused(why) => return self.over(Closed::Refused { why, error: None }),
            WireError::End | WireError::Lost(_) => {}
        }
        let why = error.to_string();
        if self.times.was_good() {
            self.backoff.reset();
        }
        let after = self.backoff.next(asked.max(self.times.until_drained()), fastrand::f64());
        let attempt = self.backoff.failures();
        if self.settings.attempts(self.greeted) <= attempt {
            return self.over(Closed::GaveUp { why });
        }
        self.conversation.tell(Event::Reconnecting { after, attempt, why });
        self.link = Link::Down(Instant::now() + after);
        self.arm();
    }

    fn over(&mut self, reason: Closed) {
        self.conversation.disconnected();
        self.conversation.fail_request(crate::error::RequestError::Closed);
        self.conversation.tell(Event::Closed { reason });
        self.link = Link::Over;
    }

    /// Opens a connection now.
    fn open(&mut self) {
        self.link = Link::Opening(Box::pin(Wire::connect(self.address.clone(), self.tls.clone())));
        self.times.opening();
        self.arm();
    }

    /// Shows the help lines of `country` from the next connection on; see [`Client::set_country`], which also
    /// tells the server now.
    pub fn remember_country(&mut self, country: Country) {
        self.conversation.remember_country(country);
    }

    /// The language of the answers from the next connection on; see [`Client::set_locale`].
    fn remember_locale(&mut self, locale: Locale) {
        self.conversation.remember_locale(locale);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connected = self.is_connected();
        f.debug_struct("Client").field("address", &self.address).field("connected", &connected).finish_non_exhaustive()
    }
}
