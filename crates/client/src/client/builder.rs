//! How a client is set up.

use std::time::Duration;

use protocol::{Country, Locale, UserText};
use tokio::time::{Instant, sleep};

use super::{Client, Link, times::Times};
use crate::address::Address;
use crate::backoff::Backoff;
use crate::conversation::{Conversation, Introduction, MAX_MESSAGES};
use crate::error::ConnectError;
use crate::wire::Tls;

/// As many as there may be: no message waits for another.
const WINDOW: usize = MAX_MESSAGES;

/// Sets up a [`Client`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    address: Address,
    tls: Option<Tls>,
    introduction: Introduction,
    settings: Settings,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) first_wait: Duration,
    pub(super) longest_wait: Duration,
    pub(super) connect_limit: Duration,
    pub(super) silence: Duration,
    pub(super) pong_limit: Duration,
    /// For a client that waits for its first welcome in [`Builder::connect`].
    pub(super) first_attempts: u32,
    pub(super) attempts: u32,
}

impl Settings {
    /// Failed attempts in a row after which there is no other.
    pub(super) fn attempts(&self, was_connected: bool) -> u32 {
        if was_connected { self.attempts } else { self.first_attempts }
    }
}

impl Builder {
    pub(super) fn new(address: Address) -> Self {
        let introduction = Introduction { window: WINDOW, tries: 1, ..Introduction::default() };
        let settings = Settings {
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(15),
            connect_limit: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            pong_limit: Duration::from_secs(10),
            first_attempts: 1,
            attempts: u32::MAX,
        };
        Self { address, tls: None, introduction, settings }
    }

    /// Goes on with an earlier session, by the secret of its welcome.
    pub fn resume(mut self, token: impl Into<String>) -> Self {
        self.introduction.tokens.set_current(UserText::new(token));
        self
    }

    /// Secrets of earlier sessions, newest first, 32 at most. With [`Builder::begin_anew`] the newest eight are
    /// tried behind that of [`Builder::resume`], on each connection where the server does not know that one.
    pub fn earlier<T: Into<String>>(mut self, tokens: impl IntoIterator<Item = T>) -> Self {
        self.introduction.tokens.set_earlier(tokens.into_iter().map(UserText::new).collect());
        self
    }

    /// The last `seq` the caller has, 0 for none: newer entries are told after the welcome.
    /// By default only what happens from then on. Only counts with [`Builder::resume`].
    pub fn since(mut self, seq: u64) -> Self {
        self.introduction.since = Some(seq);
        self
    }

    /// The language to speak.
    pub fn locale(mut self, locale: Locale) -> Self {
        self.introduction.locale = Some(locale);
        self
    }

    /// The country that the person is in, chosen or confirmed by them: picks the help lines.
    pub fn country(mut self, country: Country) -> Self {
        self.introduction.country = Some(country);
        self
    }

    /// The person's time zone (IANA): a guess at the country until one is chosen.
    pub fn time_zone(mut self, zone: impl Into<String>) -> Self {
        self.introduction.time_zone = Some(UserText::new(zone));
        self
    }

    /// Name and version of the program, for the server.
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.introduction.client = Some(UserText::new(name));
        self
    }

    /// The person's credential, where the server wants one.
    pub fn auth(mut self, credential: impl Into<String>) -> Self {
        self.introduction.auth = Some(UserText::new(credential));
        self
    }

    /// If the server does not know the session to be resumed, goes on with an earlier one
    /// ([`Event::EarlierSession`](crate::Event::EarlierSession)) or begins another one
    /// ([`Event::SessionLost`](crate::Event::SessionLost)); messages without an answer go there. The token
    /// becomes an earlier one and is tried again: the server may have the wrong database for a while.
    /// By default that is the end.
    pub fn begin_anew(mut self, anew: bool) -> Self {
        self.introduction.anew = anew;
        self
    }

    /// Own messages that may be with the server at the same time; others wait here. Default 64, which is all:
    /// each is sent when it is written, and again in its turn where the server had no room for it.
    pub fn window(mut self, messages: usize) -> Self {
        self.introduction.window = messages;
        self
    }

    /// How often in all a message is sent that the server refuses for now (`unavailable`, `overloaded`,
    /// `user_busy`, `rate_limited`); it is sent again when the server says, with jitter, and
    /// [`Event::Deferred`](crate::Event::Deferred) tells of it. Default 1: a refusal is the caller's.
    pub fn tries(mut self, tries: u32) -> Self {
        self.introduction.tries = tries.max(1);
        self
    }

    /// Waits before an attempt to connect are random between nothing and a ceiling that grows
    /// from `first` to `longest` by doubling, and starts over once a connection has lasted five
    /// seconds. A wait the server asks for comes on top. Default half a second and 15 seconds.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.settings.first_wait, self.settings.longest_wait) = (first, longest.max(first));
        self
    }

    /// How long an attempt may take until the welcome. Default 10 seconds.
    pub fn connect_limit(mut self, limit: Duration) -> Self {
        self.settings.connect_limit = limit;
        self
    }

    /// After `silence` of the server the client asks for a sign of life and waits for `limit`.
    /// Default 30 and 10 seconds. Five minutes without a line of our own count as well, because
    /// the server ends connections from which nothing comes.
    pub fn silence(mut self, silence: Duration, limit: Duration) -> Self {
        (self.settings.silence, self.settings.pong_limit) = (silence, limit);
        self
    }

    /// How many attempts are made for the first welcome. Default 1.
    pub fn first_attempts(mut self, attempts: u32) -> Self {
        self.settings.first_attempts = attempts.max(1);
        self
    }

    /// How many attempts in a row may fail later before the client gives up. Default: any number.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.settings.attempts = attempts.max(1);
        self
    }

    /// TLS settings in place of the machine's own, for `tls://` and `wss://`.
    pub fn tls(mut self, config: std::sync::Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// A client that connects as soon as it is awaited.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with timers.
    pub fn start(self) -> Client {
        let Self { address, tls, introduction, settings } = self;
        let now = Instant::now();
        let backoff = Backoff::new(settings.first_wait, settings.longest_wait);
        Client {
            address,
            tls,
            conversation: Conversation::new(introduction),
            link: Link::Down(now),
            greeted: false,
            backoff,
            times: Times::new(now),
            later: Vec::new(),
            timer: Box::pin(sleep(Duration::ZERO)),
            settings,
        }
    }

    /// Connects, and waits for the welcome. Its [`Event::Connected`](crate::Event::Connected)
    /// is the client's first event.
    ///
    /// # Errors
    ///
    /// The server cannot be reached with as many attempts as are allowed, or refuses.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the attempt.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        self.start().first().await
    }
}
