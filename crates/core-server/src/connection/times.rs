//! Time limits of a connection. One timer serves them all.

use std::time::Duration;

use protocol::{CloseReason, ErrorCode};
use tokio::time::Instant;

use super::{Connection, FaceState, LINGER};

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
    /// For answers under way to end when the server is going away.
    pub drain: Duration,
}

impl Connection {
    /// Does what is due.
    pub(super) fn on_timer(&mut self) {
        let (now, times) = (Instant::now(), self.context.times);
        let over = |since: Instant, limit: Duration| since + limit <= now;
        self.remind_if_due(now);
        if self.stalled_since.is_some_and(|since| over(since, times.write)) {
            self.closing = Some(CloseReason::SlowConsumer);
        } else if self.draining_since.is_some_and(|since| over(since, times.drain)) {
            // Where the drain time is as short as the lingering, nothing may be in progress.
            if self.finished().is_none() {
                self.give_up_draining();
            }
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
        let waits_for_client = if self.closing.is_some() {
            // Only what is still to be written keeps it open; nothing else is due any more.
            Instant::now() + times.idle
        } else if self.may_be_greeted() {
            self.peer.since + times.greet_delay
        } else if self.awaits_hello() {
            self.heard_at + times.handshake
        } else {
            self.heard_at + times.idle
        };
        let stalled = self.stalled_since.map(|since| since + times.write);
        let drained = self.draining_since.filter(|_| self.closing.is_none()).map(|since| {
            let first = self.lingers_until().filter(|until| Instant::now() < *until);
            first.unwrap_or(since + times.drain)
        });
        let paced = Some(self.pace.ready_at()).filter(|ready| Instant::now() < *ready);
        [stalled, drained, paced, self.reminder_at].into_iter().flatten().fold(waits_for_client, Instant::min)
    }

    /// Returns until when an idle connection is read while the server is going away: a message that is written just
    /// then may call for help, and nothing can be said any more once the connection is closed.
    pub(super) fn lingers_until(&self) -> Option<Instant> {
        self.draining_since.map(|since| since + LINGER.min(self.context.times.drain))
    }

    /// The answer under way does not end in time: the person is told, and will find it
    /// after they reconnect if it ends at all.
    fn give_up_draining(&mut self) {
        if self.closing.is_none() {
            match self.face {
                FaceState::Frames => self.error(ErrorCode::ShuttingDown, None),
                FaceState::Plain(_) => self.say_error(ErrorCode::ShuttingDown),
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
