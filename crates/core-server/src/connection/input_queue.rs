//! Input of a connection: its pace, the lines that wait, and the end of the stream.

use tokio::time::Instant;

use super::read_ahead::{Input, ReadAhead};
use super::read_throttle::ReadThrottle;

/// Input between the socket and the mode. Without I/O.
#[derive(Debug)]
pub(super) struct InputQueue {
    ahead: ReadAhead,
    throttle: ReadThrottle,
    /// A byte was received; until then the greeting delay runs.
    pub(super) has_received: bool,
    /// The end of the stream was read; earlier lines may still wait in `ahead`.
    has_read_eof: bool,
    /// The end of the stream was handled, and so was every line before it.
    pub(super) has_handled_eof: bool,
}

impl InputQueue {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            ahead: ReadAhead::default(),
            throttle: ReadThrottle::new(now),
            has_received: false,
            has_read_eof: false,
            has_handled_eof: false,
        }
    }

    /// Returns true if one more line may be read. Otherwise the peer's TCP connection fills up: the back-pressure.
    pub(super) fn wants_line(&self, now: Instant) -> bool {
        !self.has_read_eof && self.ahead.has_room() && self.throttle.ready_at() <= now
    }

    /// Returns the time at which a paused read goes on; `None` if the pace does not pause it.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        Some(self.throttle.ready_at()).filter(|ready_at| now < *ready_at)
    }

    pub(super) fn record_line(&mut self, now: Instant) {
        self.throttle.record_line(now);
    }

    pub(super) fn on_eof(&mut self) {
        self.has_read_eof = true;
    }

    pub(super) fn has_read_eof(&self) -> bool {
        self.has_read_eof
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ahead.is_empty()
    }

    pub(super) fn push(&mut self, input: Input) {
        self.ahead.push(input);
    }

    /// Returns an input to the front of the queue.
    pub(super) fn put_back(&mut self, input: Input) {
        self.ahead.put_back(input);
    }

    pub(super) fn pop(&mut self) -> Option<Input> {
        self.ahead.pop()
    }

    /// Removes the first input that is `wanted`.
    pub(super) fn take(&mut self, wanted: impl FnMut(&Input) -> bool) -> Option<Input> {
        self.ahead.take(wanted)
    }
}
