//! Time limits of a connection. One timer serves them all, and is only touched when it fires
//! or when something is due earlier than it.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::{Client, Link};
use crate::error::RequestError;
use crate::wire::WireError;

/// A connection that lasted this long was a good one: waits start over.
const GOOD: Duration = Duration::from_secs(5);
/// Without a line of our own for this long we say something: servers end idle connections
/// (`IDLE_SECONDS`, 15 minutes by default).
const MUTE: Duration = Duration::from_secs(300);
/// No timer is set for longer than this.
const FAR: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub(super) struct Times {
    opened: Instant,
    welcomed: Option<Instant>,
    heard: Instant,
    said: Instant,
    /// A sign of life was asked for then.
    asked: Option<Instant>,
    /// The server goes away then.
    drain: Option<Instant>,
    /// The request under way is given up then.
    pub(super) request: Option<Instant>,
}

impl Times {
    pub(super) fn new(now: Instant) -> Self {
        Self { opened: now, welcomed: None, heard: now, said: now, asked: None, drain: None, request: None }
    }

    pub(super) fn opening(&mut self) {
        *self = Self { request: self.request, ..Self::new(Instant::now()) };
    }

    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
        self.asked = None;
    }

    pub(super) fn said(&mut self) {
        self.said = Instant::now();
    }

    /// Notes the first welcome; true if this was it.
    pub(super) fn welcomed(&mut self, open: bool) -> bool {
        let first = open && self.welcomed.is_none();
        if first {
            self.welcomed = Some(self.heard);
        }
        first
    }

    pub(super) fn drain(&mut self, after: Duration) {
        self.drain = Some(Instant::now() + after);
    }

    /// What is left of the wait that a server which goes away has asked for.
    pub(super) fn until_drained(&self) -> Option<Duration> {
        self.drain.map(|at| at.saturating_duration_since(Instant::now()))
    }

    pub(super) fn was_welcomed(&self) -> bool {
        self.welcomed.is_some()
    }

    /// Whether the server owes a sign of life.
    pub(super) fn awaits_pong(&self) -> bool {
        self.asked.is_some()
    }

    pub(super) fn was_good(&self) -> bool {
        self.welcomed.is_some_and(|at| GOOD <= at.elapsed())
    }
}

impl Client {
    /// When something is to be done if nothing happens.
    fn due(&self) -> Instant {
        let (times, settings) = (&self.times, &self.settings);
        let far = Instant::now() + FAR;
        let link = match &self.link {
            Link::Over => far,
            Link::Down(until) => *until,
            _ if times.welcomed.is_none() => times.opened + settings.connect_limit,
            _ => {
                let ask = (times.heard + settings.silence).min(times.said + MUTE);
                let drain = times.drain.filter(|_| !self.conversation.is_busy()).unwrap_or(far);
                times.asked.map_or(ask, |asked| asked + settings.pong_limit).min(drain)
            }
        };
        let later = self.later.iter().map(|(at, _)| *at).min();
        link.min(times.request.unwrap_or(far)).min(later.unwrap_or(far)).min(far)
    }

    /// Sets the timer if something is due before it fires.
    pub(super) fn arm(&mut self) {
        let due = self.due();
        if due < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due);
        }
    }

    /// An answer has ended on a connection that drains: it may be time to go.
    pub(super) fn drained(&mut self) {
        if self.conversation.is_draining() && !self.conversation.is_busy() {
            self.arm();
        }
    }

    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let due = self.due();
            if due <= Instant::now() {
                self.on_due();
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
    }

    /// Does what is due.
    fn on_due(&mut self) {
        let (now, settings) = (Instant::now(), &self.settings);
        let over = |since: Instant, limit: Duration| since + limit <= now;
        let late = || WireError::Lost(format!("{} does not answer", self.address.authority()));
        if self.times.request.is_some_and(|at| at <= now) {
            self.times.request = None;
            return self.conversation.fail_request(RequestError::TimedOut);
        }
        if let Some(at) = self.later.iter().position(|(at, _)| *at <= now) {
            let (_, id) = self.later.swap_remove(at);
            return self.conversation.release(&id);
        }
        match &self.link {
            Link::Over => {}
            // Another thing may have been due.
            Link::Down(until) if now < *until => {}
            Link::Down(_) => self.open(),
            _ if self.times.welcomed.is_none() => self.lost(late(), None),
            _ if self.times.drain.is_some_and(|at| at <= now) && !self.conversation.is_busy() => {
                self.lost(WireError::Lost("the server is going away".to_owned()), None);
            }
            _ if self.times.asked.is_some_and(|asked| over(asked, settings.pong_limit)) => self.lost(late(), None),
            _ if self.times.asked.is_none() => {
                self.times.asked = Some(now);
                self.conversation.ping();
            }
            _ => {}
        }
    }
}
