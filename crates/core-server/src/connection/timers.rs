//! Timeouts of a connection, all on one timer.

use std::time::Duration;

use protocol::{CloseReason, ErrorCode};
use tokio::time::Instant;

use super::{Connection, FaceState, LINGER};

/// Timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Silence of a new connection before the plain face greets.
    pub greet_delay: Duration,
    /// For the rest of a PROXY header, and for `hello` on a framed connection.
    pub handshake: Duration,
    /// Between two lines of the client; an answer in progress extends it.
    pub idle: Duration,
    /// Without progress in writing: the client is a slow consumer.
    pub write: Duration,
    /// For answers in progress when the server drains.
    pub drain: Duration,
}

impl Connection {
    /// Fires every expired timer.
    pub(super) fn fire_timers(&mut self) {
        let (now, timeouts) = (Instant::now(), self.context.timeouts);
        let over = |since: Instant, limit: Duration| since + limit <= now;
        self.remind_if_due(now);
        if self.stalled_since.is_some_and(|since| over(since, timeouts.write)) {
            self.closing = Some(CloseReason::SlowConsumer);
        } else if self.draining_since.is_some_and(|since| over(since, timeouts.drain)) {
            // With a drain timeout as short as `LINGER` nothing may be in progress: then the loop ends by itself.
            if self.close_reason_if_done().is_none() {
                self.give_up_draining();
            }
        } else if self.may_be_greeted() {
            if over(self.peer.connected_at, timeouts.greet_delay) {
                self.greet();
            }
        } else if self.awaits_hello() && over(self.last_read_at, timeouts.handshake) {
            self.closing = Some(CloseReason::HandshakeTimeout);
        } else if over(self.last_read_at, timeouts.idle) {
            if self.is_awaiting() {
                self.last_read_at = now;
            } else {
                self.closing = Some(CloseReason::Idle);
            }
        }
    }

    /// Returns the earliest time at which a timer may expire.
    pub(super) fn next_deadline(&self) -> Instant {
        let timeouts = self.context.timeouts;
        let waits_for_client = if self.closing.is_some() {
            // Only unwritten output keeps the connection open; no timer of input counts any more.
            Instant::now() + timeouts.idle
        } else if self.may_be_greeted() {
            self.peer.connected_at + timeouts.greet_delay
        } else if self.awaits_hello() {
            self.last_read_at + timeouts.handshake
        } else {
            self.last_read_at + timeouts.idle
        };
        let stalled = self.stalled_since.map(|since| since + timeouts.write);
        let drained = self.draining_since.filter(|_| self.closing.is_none()).map(|since| {
            let first = self.lingers_until().filter(|until| Instant::now() < *until);
            first.unwrap_or(since + timeouts.drain)
        });
        let paced = Some(self.read_throttle.ready_at()).filter(|ready| Instant::now() < *ready);
        [stalled, drained, paced, self.reminder_at].into_iter().flatten().fold(waits_for_client, Instant::min)
    }

    /// Returns the time until which a drain still reads an idle connection: a message on its way may call for help, and
    /// after the close no help can be shown.
    pub(super) fn lingers_until(&self) -> Option<Instant> {
        self.draining_since.map(|since| since + LINGER.min(self.context.timeouts.drain))
    }

    /// Ends a drain whose answer in progress took too long: sends `shutting_down`. If the answer still ends, the person
    /// gets it after a reconnect.
    fn give_up_draining(&mut self) {
        if self.closing.is_none() {
            match self.face {
                FaceState::Frames => self.error(ErrorCode::ShuttingDown, None),
                FaceState::Plain(_) => self.write_error(ErrorCode::ShuttingDown),
                FaceState::Undecided => {}
            }
            self.closing = Some(CloseReason::Draining);
        }
    }

    /// Returns true while the greeting delay runs: no face, no byte and no task yet.
    fn may_be_greeted(&self) -> bool {
        let is_undecided = matches!(self.face, FaceState::Undecided) && !self.has_failed_to_greet;
        is_undecided && self.task.is_none() && self.silent && self.draining_since.is_none()
    }

    /// Returns true while the handshake timeout runs: a framed connection without a session.
    fn awaits_hello(&self) -> bool {
        matches!(self.face, FaceState::Frames) && self.attached.is_none() && self.task.is_none()
    }
}
