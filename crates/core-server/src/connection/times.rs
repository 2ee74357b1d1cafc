//! Time limits of a connection. One timer serves them all.

use std::time::Duration;

use protocol::CloseReason;
use tokio::time::Instant;

use super::{Connection, FaceState};

/// Time limits of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// After which the plain face greets someone who says nothing.
    pub greet_delay: Duration,
    /// For a PROXY header that has begun, and for `hello` where frames were announced.
    pub handshake: Duration,
    /// Without a line from the client.
    pub idle: Duration,
    /// For the client to take what is written.
    pub write: Duration,
}

impl Connection {
    /// Does what is due.
    pub(super) fn on_timer(&mut self) {
        let (now, times) = (Instant::now(), self.context.times);
        let over = |since: Instant, limit: Duration| since + limit <= now;
        if self.stalled_since.is_some_and(|since| over(since, times.write)) {
            self.closing = Some(CloseReason::SlowConsumer);
        } else if self.may_be_greeted() {
            if over(self.peer.since, times.greet_delay) {
                self.greet();
            }
        } else if self.awaits_hello() && over(self.heard_at, times.handshake) {
            self.closing = Some(CloseReason::HandshakeTimeout);
        } else if over(self.heard_at, times.idle) {
            if self.is_awaiting() {
                self.heard_at = now;
            } else {
                self.closing = Some(CloseReason::Idle);
            }
        }
    }

    /// When something may be due next.
    pub(super) fn next_deadline(&self) -> Instant {
        let times = self.context.times;
        let waits_for_client = match self.face {
            FaceState::Undecided if self.may_be_greeted() => self.peer.since + times.greet_delay,
            _ if self.awaits_hello() => self.heard_at + times.handshake,
            _ => self.heard_at + times.idle,
        };
        self.stalled_since.map_or(waits_for_client, |since| waits_for_client.min(since + times.write))
    }

    /// Whether the greeting delay counts: nobody has said a thing.
    fn may_be_greeted(&self) -> bool {
        matches!(self.face, FaceState::Undecided) && self.task.is_none() && self.silent
    }

    /// Whether a program is expected to say `hello`.
    fn awaits_hello(&self) -> bool {
        matches!(self.face, FaceState::Frames) && self.attached.is_none() && self.task.is_none()
    }
}
