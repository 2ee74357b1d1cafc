//! Time limits of a connection. One timer serves them all.

use std::time::Duration;

use protocol::{CloseReason, ErrorCode};
use tokio::time::Instant;

use super::{Connection, FaceState, LINGER};

/// Time limits of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// After which the plain face greets someone who says nothing.
    pub greet_delay: Duration,
    /// For a PROXY header that has begun, and for `hello` where frames were announced.
    pub handshake: Duration,
    /// Without a line from the client.
    pub idle: Duration,
    /// For the client to take what is written.
    pub write: Duration,
    /// For answers under way to end when the server is going away.
    pub drain: Duration,
}

impl Connection {
    /// Does what is due.
    pub(super) fn fire_timers(&mut self) {
        let (now, timeouts) = (Instant::now(), self.context.timeouts);
        let over = |since: Instant, limit: Duration| since + limit <= now;
        self.remind_if_due(now);
        if self.stalled_since.is_some_and(|since| over(since, timeouts.write)) {
            self.closing = Some(CloseReason::SlowConsumer);
        } else if self.draining_since.is_some_and(|since| over(since, timeouts.drain)) {
            // Where the drain time is as short as the lingering, nothing may be in progress.
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

    /// When something may be due next.
    pub(super) fn next_deadline(&self) -> Instant {
        let timeouts = self.context.timeouts;
        let waits_for_client = if self.closing.is_some() {
            // Only what is still to be written keeps it open; nothing else is due any more.
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

    /// Returns until when an idle connection is read while the server is going away: a message that is written just
    /// then may call for help, and nothing can be said any more once the connection is closed.
    pub(super) fn lingers_until(&self) -> Option<Instant> {
        self.draining_since.map(|since| since + LINGER.min(self.context.timeouts.drain))
    }

    /// The answer under way does not end in time: the person is told, and will find it
    /// after they reconnect if it ends at all.
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

    /// Whether the greeting delay counts: nobody has said a thing.
    fn may_be_greeted(&self) -> bool {
        matches!(self.face, FaceState::Undecided) && self.task.is_none() && self.silent && self.draining_since.is_none()
    }

    /// Whether a program is expected to say `hello`.
    fn awaits_hello(&self) -> bool {
        matches!(self.face, FaceState::Frames) && self.attached.is_none() && self.task.is_none()
    }
}
