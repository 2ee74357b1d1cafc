//! Driver of a conversation: sockets, timers and reconnects.

mod builder;
mod requests;
mod timeouts;

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use protocol::{Country, Locale, MessageId, SessionId, UserText};
use tokio::time::{Instant, Sleep};

use crate::address::Address;
use crate::backoff::Backoff;
use crate::conversation::{Action, Conversation};
use crate::error::{ConnectError, SendError};
use crate::event::{Closed, Event};
use crate::wire::{Tls, Wire, WireError};
pub use builder::Builder;
use builder::Settings;
pub use requests::{Page, SessionInfo, Summary};

/// Limit for the server to close after `bye`. The frame is written before the wait begins, so a longer one
/// would only delay the person.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

type ConnectFuture = Pin<Box<dyn Future<Output = Result<Wire, WireError>> + Send + Sync>>;

/// Conversation with PsicoIA that survives reconnects.
///
/// Runs no task: all work happens while [`Client::next_event`] or a request is awaited. Dropping
/// the client ends the connection, and a caller that takes no events applies backpressure to the
/// socket. A caller that waits for something else for longer than [`Builder::keepalive`] should
/// do so in a `select!` beside `next_event`.
pub struct Client {
    address: Address,
    tls: Option<Tls>,
    settings: Settings,
    conversation: Conversation,
    state: ConnectionState,
    /// True after the first `welcome`, on this connection or an earlier one.
    was_connected: bool,
    backoff: Backoff,
    timeouts: timeouts::Timeouts,
    /// Deferred messages and the times of their next attempts.
    retries: Vec<(Instant, MessageId)>,
    timer: Pin<Box<Sleep>>,
}

enum ConnectionState {
    /// Backing off until then.
    Waiting(Instant),
    Connecting(ConnectFuture),
    Connected(Wire),
    Closed,
}

impl Client {
    /// Returns a builder for `address`.
    pub fn builder(address: Address) -> Builder {
        Builder::new(address)
    }

    /// Waits for the next event; `None` after [`Event::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.conversation.next_event() {
                return Some(event);
            }
            if matches!(self.state, ConnectionState::Closed) {
                return None;
            }
            self.step().await;
        }
    }

    /// Sends a message under a random id and returns the id.
    ///
    /// Returns at once: the message is written when the client is awaited next, and resent
    /// after a reconnect until its answer has arrived, so that it is neither lost nor answered
    /// twice. It does not wait for the answers to earlier ones, unless [`Builder::window`] is
    /// exceeded. It ends with [`Event::Done`] or [`Event::Refused`].
    ///
    /// # Errors
    ///
    /// The text is invalid as a message, or too many are pending. Nothing was sent.
    pub fn send(&mut self, text: impl Into<String>) -> Result<MessageId, SendError> {
        let id = MessageId::random();
        self.send_as(id.clone(), text)?;
        Ok(id)
    }

    /// Sends a message under `id`, the idempotency key in its session. For an answered id the
    /// server sends the stored answer.
    ///
    /// # Errors
    ///
    /// As [`Client::send`]. A pending id is a no-op, not an error.
    pub fn send_as(&mut self, id: MessageId, text: impl Into<String>) -> Result<(), SendError> {
        if matches!(self.state, ConnectionState::Closed) {
            return Err(SendError::Closed);
        }
        self.conversation.send(id, UserText::new(text))
    }

    /// Stops the answer to message `id`; [`Event::Done`] follows with the text so far. A message
    /// that was never sent is withdrawn without an event.
    ///
    /// # Errors
    ///
    /// The outgoing queue is full.
    pub fn stop(&mut self, id: &MessageId) -> Result<(), SendError> {
        self.conversation.stop(id.clone())
    }

    /// Sends `bye` and waits, for one second at most, until the server has closed. A connection with an
    /// unanswered ping is dropped at once. Drops pending events and messages that were not accepted.
    pub async fn leave(mut self) {
        if !self.timeouts.awaits_pong() && self.conversation.bye() {
            let limit = self.settings.connect_timeout.min(LEAVE_TIMEOUT);
            // On a timeout the connection is dropped: nothing else depends on the server's close.
            let _ = tokio::time::timeout(limit, async { while self.next_event().await.is_some() {} }).await;
        }
    }

    /// Token that resumes the session; `None` before the first `welcome`. Store it like a password.
    pub fn resume_token(&self) -> Option<&UserText> {
        self.conversation.resume_token()
    }

    /// Tokens of earlier sessions, newest first: those passed to the builder and those the server did not know.
    pub fn earlier_resume_tokens(&self) -> &[UserText] {
        self.conversation.earlier_resume_tokens()
    }

    /// Public id of the session; `None` before the first `welcome`.
    pub fn session_id(&self) -> Option<&SessionId> {
        self.conversation.session()
    }

    /// Highest `seq` delivered or passed to [`Builder::since`], which takes it after a restart.
    pub fn last_seq(&self) -> Option<u64> {
        self.conversation.last_seq()
    }

    /// Number of own messages without an answer, sent or waiting.
    pub fn unanswered(&self) -> usize {
        self.conversation.open_messages()
    }

    /// True while a connection is open and welcomed.
    pub fn is_connected(&self) -> bool {
        self.conversation.is_open()
    }

    async fn wait_for_welcome(mut self) -> Result<Self, ConnectError> {
        loop {
            if self.conversation.is_open() {
                return Ok(self);
            }
            if let ConnectionState::Closed = self.state {
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

    /// Waits for the next frame or timer. Cancel safe: all state is in `self`.
    async fn step(&mut self) {
        poll_fn(|cx| self.poll_step(cx)).await;
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The connection precedes the timer: after a suspend, a frame that has arrived must reset the
        // timeouts before they are checked.
        if self.poll_connection(cx).is_ready() {
            return Poll::Ready(());
        }
        self.poll_timer(cx)
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            ConnectionState::Closed => Poll::Ready(()),
            ConnectionState::Waiting(_) => Poll::Pending,
            ConnectionState::Connecting(opening) => opening.as_mut().poll(cx).map(|opened| match opened {
                Ok(wire) => {
                    self.state = ConnectionState::Connected(wire);
                    self.conversation.connected();
                }
                Err(error) => self.on_connection_lost(error, None),
            }),
            ConnectionState::Connected(wire) => {
                let (conversation, timeouts) = (&mut self.conversation, &mut self.timeouts);
                // Writes precede reads: a message or stop must not wait behind a burst of deltas.
                let sent = wire.poll_send(cx, &mut || {
                    let frame = conversation.next_frame();
                    if frame.is_some() {
                        timeouts.on_sent();
                    }
                    frame
                });
                if let Poll::Ready(Err(error)) = sent {
                    self.on_connection_lost(error, None);
                    return Poll::Ready(());
                }
                wire.poll_frame(cx).map(|frame| self.on_frame(frame))
            }
        }
    }

    fn on_frame(&mut self, frame: Result<Option<protocol::ServerFrame>, WireError>) {
        self.timeouts.on_received();
        let action = match frame {
            Ok(None) => return,
            Ok(Some(frame)) => self.conversation.on_frame(frame),
            Err(error) => return self.on_connection_lost(error, None),
        };
        match action {
            Action::Continue => {
                if self.timeouts.on_welcome(self.conversation.is_open()) {
                    self.was_connected = true;
                    self.arm_timer();
                }
                self.check_drained();
            }
            Action::Reconnect { why, after } => self.on_connection_lost(WireError::Lost(why), after),
            Action::Drain(after) => {
                self.timeouts.drain(after);
                self.arm_timer();
            }
            Action::Retry { id, after } => {
                // Up to 25 % jitter, so that clients refused together do not retry together.
                let jitter = after.mul_f64(0.25 * fastrand::f64());
                self.retries.push((Instant::now() + after + jitter, id));
                self.arm_timer();
            }
            Action::Close(closed) => self.close(closed),
        }
    }

    /// Drops the connection and schedules a reconnect, or ends the conversation.
    fn on_connection_lost(&mut self, error: WireError, requested: Option<Duration>) {
        self.conversation.disconnected();
        let leaving = self.conversation.is_leaving();
        match error {
            WireError::Eof | WireError::Lost(_) | WireError::SessionEnded if leaving => return self.close(Closed::Bye),
            WireError::SessionEnded => return self.close(Closed::Ended),
            // The server accepted this client before, so a refusal comes from a captive portal or the like.
            WireError::Refused(_) if self.was_connected && !self.timeouts.was_welcomed() => {}
            WireError::Refused(why) => return self.close(Closed::Refused { why, error: None }),
            WireError::Eof | WireError::Lost(_) => {}
        }
        let why = error.to_string();
        if self.timeouts.was_stable() {
            self.backoff.reset();
        }
        let after = self.backoff.next(requested.max(self.timeouts.until_drained()), fastrand::f64());
        let attempt = self.backoff.failures();
        if self.settings.attempts(self.was_connected) <= attempt {
            return self.close(Closed::Unreachable { why });
        }
        self.conversation.emit(Event::Reconnecting { after, attempt, why });
        self.state = ConnectionState::Waiting(Instant::now() + after);
        self.arm_timer();
    }

    fn close(&mut self, reason: Closed) {
        self.conversation.disconnected();
        self.conversation.fail_request(crate::error::RequestError::Closed);
        self.conversation.emit(Event::Closed { reason });
        self.state = ConnectionState::Closed;
    }

    fn connect(&mut self) {
        self.state = ConnectionState::Connecting(Box::pin(Wire::connect(self.address.clone(), self.tls.clone())));
        self.timeouts.start_connecting();
        self.arm_timer();
    }

    /// Sets the country of later connections; [`Client::set_country`] also sets that of the session now.
    pub fn remember_country(&mut self, country: Country) {
        self.conversation.remember_country(country);
    }

    /// Sets the locale of later connections; [`Client::set_locale`] also sets that of the session now.
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
