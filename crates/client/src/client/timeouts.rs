//! Timeouts of a connection. One timer serves them all and is reset only when it fires or
//! when an earlier deadline appears, so that frames do not touch the timer wheel.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::{Client, ConnectionState};
use crate::error::RequestError;
use crate::wire::WireError;

/// Age at which a connection counts as stable and resets the backoff: longer than a server that
/// accepts and then fails takes to close.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// Idle time of the sending side after which a ping is sent: a third of the server's default
/// `IDLE_SECONDS` (15 minutes).
const KEEPALIVE: Duration = Duration::from_secs(300);
/// Upper bound of a timer, in place of "never".
const MAX_TIMER: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub(super) struct Timeouts {
    connecting_since: Instant,
    welcomed_at: Option<Instant>,
    last_received: Instant,
    last_sent: Instant,
    /// Time of the unanswered ping.
    ping_sent: Option<Instant>,
    /// Time at which the draining server asked to reconnect.
    drain_at: Option<Instant>,
    /// Deadline of the pending request.
    pub(super) request_deadline: Option<Instant>,
}

impl Timeouts {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            connecting_since: now,
            welcomed_at: None,
            last_received: now,
            last_sent: now,
            ping_sent: None,
            drain_at: None,
            request_deadline: None,
        }
    }

    pub(super) fn start_connecting(&mut self) {
        // A pending request spans connections, and so does its deadline.
        *self = Self { request_deadline: self.request_deadline, ..Self::new(Instant::now()) };
    }

    pub(super) fn on_received(&mut self) {
        self.last_received = Instant::now();
        self.ping_sent = None;
    }

    pub(super) fn on_sent(&mut self) {
        self.last_sent = Instant::now();
    }

    /// Records the first `welcome` of the connection; true only for that one.
    pub(super) fn on_welcome(&mut self, open: bool) -> bool {
        let first = open && self.welcomed_at.is_none();
        if first {
            self.welcomed_at = Some(self.last_received);
        }
        first
    }

    pub(super) fn drain(&mut self, after: Duration) {
        self.drain_at = Some(Instant::now() + after);
    }

    /// Remaining delay requested by a draining server.
    pub(super) fn until_drained(&self) -> Option<Duration> {
        self.drain_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    pub(super) fn was_welcomed(&self) -> bool {
        self.welcomed_at.is_some()
    }

    /// True while a ping is unanswered.
    pub(super) fn awaits_pong(&self) -> bool {
        self.ping_sent.is_some()
    }

    pub(super) fn was_stable(&self) -> bool {
        self.welcomed_at.is_some_and(|at| STABLE_AFTER <= at.elapsed())
    }
}

impl Client {
    /// Earliest deadline of all timeouts.
    fn next_deadline(&self) -> Instant {
        let (timeouts, settings) = (&self.timeouts, &self.settings);
        let far = Instant::now() + MAX_TIMER;
        let link = match &self.state {
            ConnectionState::Closed => far,
            ConnectionState::Waiting(until) => *until,
            _ if timeouts.welcomed_at.is_none() => timeouts.connecting_since + settings.connect_timeout,
            _ => {
                let ask = (timeouts.last_received + settings.keepalive_interval).min(timeouts.last_sent + KEEPALIVE);
                let drain = timeouts.drain_at.filter(|_| !self.conversation.is_busy()).unwrap_or(far);
                timeouts.ping_sent.map_or(ask, |sent| sent + settings.pong_timeout).min(drain)
            }
        };
        let retry = self.retries.iter().map(|(at, _)| *at).min();
        link.min(timeouts.request_deadline.unwrap_or(far)).min(retry.unwrap_or(far)).min(far)
    }

    /// Resets the timer if a deadline precedes it.
    pub(super) fn arm_timer(&mut self) {
        let due = self.next_deadline();
        if due < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(due);
        }
    }

    /// Re-arms the timer once a draining connection owes no answer.
    pub(super) fn check_drained(&mut self) {
        if self.conversation.is_draining() && !self.conversation.is_busy() {
            self.arm_timer();
        }
    }

    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let due = self.next_deadline();
            if due <= Instant::now() {
                self.on_timer();
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
    }

    /// Handles the first expired timeout.
    fn on_timer(&mut self) {
        let (now, settings) = (Instant::now(), &self.settings);
        let elapsed = |since: Instant, limit: Duration| since + limit <= now;
        let late = || WireError::Lost(format!("{} does not answer", self.address.authority()));
        if self.timeouts.request_deadline.is_some_and(|at| at <= now) {
            self.timeouts.request_deadline = None;
            return self.conversation.fail_request(RequestError::TimedOut);
        }
        if let Some(at) = self.retries.iter().position(|(at, _)| *at <= now) {
            let (_, id) = self.retries.swap_remove(at);
            return self.conversation.release(&id);
        }
        match &self.state {
            ConnectionState::Closed => {}
            // Another timeout expired.
            ConnectionState::Waiting(until) if now < *until => {}
            ConnectionState::Waiting(_) => self.connect(),
            _ if self.timeouts.welcomed_at.is_none() => self.on_connection_lost(late(), None),
            _ if self.timeouts.drain_at.is_some_and(|at| at <= now) && !self.conversation.is_busy() => {
                self.on_connection_lost(WireError::Lost("the server is going away".to_owned()), None);
            }
            _ if self.timeouts.ping_sent.is_some_and(|sent| elapsed(sent, settings.pong_timeout)) => {
                self.on_connection_lost(late(), None);
            }
            _ if self.timeouts.ping_sent.is_none() => {
                self.timeouts.ping_sent = Some(now);
                self.conversation.ping();
            }
            _ => {}
        }
    }
}
