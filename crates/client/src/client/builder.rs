//! Builder of a client.

use std::time::Duration;

use protocol::{Country, Locale, UserText};
use tokio::time::{Instant, sleep};

use super::{Client, ConnectionState, timeouts::Timeouts};
use crate::address::Address;
use crate::backoff::Backoff;
use crate::conversation::{Conversation, MAX_MESSAGES, SessionOptions};
use crate::error::ConnectError;
use crate::wire::Tls;

/// No message waits for another by default.
const WINDOW: usize = MAX_MESSAGES;

/// Builder of a [`Client`].
///
/// ```
/// use client::{Builder, Client};
///
/// /// Continues a conversation where the program left it.
/// fn continued(address: client::Address, token: &str, last_seq: u64) -> Builder {
///     Client::builder(address)
///         .client_name("example/1")
///         .resume(token)
///         // Entries written meanwhile, also on other devices, come first.
///         .since(last_seq)
///         // The token may be of a session that was erased.
///         .allow_new_session(true)
/// }
/// # let _ = continued("127.0.0.1:5001".parse().unwrap(), "rt_1", 4);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    address: Address,
    tls: Option<Tls>,
    options: SessionOptions,
    settings: Settings,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) initial_backoff: Duration,
    pub(super) max_backoff: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) keepalive_interval: Duration,
    pub(super) pong_timeout: Duration,
    /// Limit until the first `welcome`.
    pub(super) initial_attempts: u32,
    pub(super) attempts: u32,
}

impl Settings {
    /// Limit of failed attempts in a row.
    pub(super) fn attempts(&self, was_connected: bool) -> u32 {
        if was_connected { self.attempts } else { self.initial_attempts }
    }
}

impl Builder {
    pub(super) fn new(address: Address) -> Self {
        let options = SessionOptions { window: WINDOW, send_attempts: 1, ..SessionOptions::default() };
        let settings = Settings {
            initial_backoff: Duration::from_millis(500),
            // Bounds the extra downtime after a long outage.
            max_backoff: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(10),
            // Half of the usual idle timeout of proxies and NATs (60 s).
            keepalive_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(10),
            // A person waits for the first connection: an error at once serves them better than retries.
            initial_attempts: 1,
            attempts: u32::MAX,
        };
        Self { address, tls: None, options, settings }
    }

    /// Resumes the session of `token`, which its `welcome` carried.
    pub fn resume(mut self, token: impl Into<String>) -> Self {
        self.options.tokens.set_current(UserText::new(token));
        self
    }

    /// Sets tokens of earlier sessions, newest first, 32 at most. With [`Builder::allow_new_session`] the newest eight
    /// are offered after that of [`Builder::resume`], on each connection where the server does not know that one.
    pub fn earlier_tokens<T: Into<String>>(mut self, tokens: impl IntoIterator<Item = T>) -> Self {
        self.options.tokens.set_earlier(tokens.into_iter().map(UserText::new).collect());
        self
    }

    /// Sets the last `seq` the caller has, 0 for none: newer entries are replayed after `welcome`.
    /// Default: no replay. Ignored without [`Builder::resume`].
    pub fn since(mut self, seq: u64) -> Self {
        self.options.since = Some(seq);
        self
    }

    /// Sets the language of the conversation.
    pub fn locale(mut self, locale: Locale) -> Self {
        self.options.locale = Some(locale);
        self
    }

    /// Sets the country that the person has chosen or confirmed; it selects the help lines.
    pub fn country(mut self, country: Country) -> Self {
        self.options.country = Some(country);
        self
    }

    /// Sets the person's time zone (IANA), a guess at the country until one is chosen.
    pub fn time_zone(mut self, zone: impl Into<String>) -> Self {
        self.options.time_zone = Some(UserText::new(zone));
        self
    }

    /// Requests a session that is not stored: it lives in the memory of one server, and ends some time after the last
    /// connection, or with that server. `kept` of [`Event::Connected`](crate::Event::Connected) says whether the server
    /// has understood. A session that is resumed stays as it is.
    pub fn without_keeping(mut self) -> Self {
        self.options.keep = Some(false);
        self
    }

    /// Sets the program's name and version, for the server's log.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.options.client = Some(UserText::new(name));
        self
    }

    /// Sets the person's credential (`auth` of `hello`).
    pub fn auth(mut self, credential: impl Into<String>) -> Self {
        self.options.auth = Some(UserText::new(credential));
        self
    }

    /// Allows another session if the server does not know the one to resume: an earlier one
    /// ([`Event::EarlierSession`](crate::Event::EarlierSession)) or a new one
    /// ([`Event::SessionLost`](crate::Event::SessionLost)), which receives the unanswered messages. The
    /// unknown token is kept and offered again: the server may run with another database for a while.
    /// Default: false, an unknown session ends the client.
    pub fn allow_new_session(mut self, allow_new_session: bool) -> Self {
        self.options.allow_new_session = allow_new_session;
        self
    }

    /// Sets the limit of own messages in flight; others wait here. Default 64, the limit of pending messages:
    /// each is sent when written, and retried in order if the server has no slot for it.
    pub fn window(mut self, messages: usize) -> Self {
        self.options.window = messages;
        self
    }

    /// Sets the attempts in total for a message refused with a retryable code (`unavailable`, `overloaded`,
    /// `user_busy`, `rate_limited`). A retry waits for `retry_after_ms` plus jitter and is announced by
    /// [`Event::Deferred`](crate::Event::Deferred). Default 1: no retry.
    pub fn send_attempts(mut self, attempts: u32) -> Self {
        self.options.send_attempts = attempts.max(1);
        self
    }

    /// Sets the exponential backoff between attempts to connect, with full jitter: the ceiling
    /// doubles from `first` to `longest` and is reset once a connection has lasted five seconds.
    /// A delay requested by the server is added. Default 0.5 and 15 seconds.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.settings.initial_backoff, self.settings.max_backoff) = (first, longest.max(first));
        self
    }

    /// Sets the timeout of an attempt up to `welcome`. Default 10 seconds.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.settings.connect_timeout = limit;
        self
    }

    /// Sends a ping after `interval` without a frame and drops the connection after `timeout`
    /// without a pong. Default 30 and 10 seconds. Five minutes without a frame sent also cause a
    /// ping, because the server closes idle connections.
    pub fn keepalive(mut self, interval: Duration, timeout: Duration) -> Self {
        (self.settings.keepalive_interval, self.settings.pong_timeout) = (interval, timeout);
        self
    }

    /// Sets the attempts for the first `welcome`. Default 1.
    pub fn initial_attempts(mut self, attempts: u32) -> Self {
        self.settings.initial_attempts = attempts.max(1);
        self
    }

    /// Sets the failed attempts in a row after which a later reconnect ends the client. Default: no limit.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.settings.attempts = attempts.max(1);
        self
    }

    /// Replaces the platform's TLS settings, for `tls://` and `wss://`.
    pub fn tls(mut self, config: std::sync::Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Returns a client that connects as soon as it is awaited.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with timers.
    pub fn start(self) -> Client {
        let Self { address, tls, options, settings } = self;
        let now = Instant::now();
        let backoff = Backoff::new(settings.initial_backoff, settings.max_backoff);
        Client {
            address,
            tls,
            conversation: Conversation::new(options),
            state: ConnectionState::Waiting(now),
            was_connected: false,
            backoff,
            timeouts: Timeouts::new(now),
            retries: Vec::new(),
            timer: Box::pin(sleep(Duration::ZERO)),
            settings,
        }
    }

    /// Connects and waits for `welcome`; the first event is [`Event::Connected`](crate::Event::Connected).
    ///
    /// # Errors
    ///
    /// All attempts failed, or the server refused the client.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the attempt.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        self.start().wait_for_welcome().await
    }
}
