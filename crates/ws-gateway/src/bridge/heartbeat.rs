//! Timers of a connection: pings and pongs, stalled writes, a core that does not reply.
//!
//! Sans-I/O state machine: events carry their time, and deadlines are armed and disarmed by events alone. Sampling a
//! state when a timer fires would miss changes in between: a buffer that was emptied and refilled would look as if it
//! had never been emptied.

use std::time::Duration;

use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Timeout for the core's first byte after a line that requires a reply. A core that waits for its database may take
/// longer; therefore the timeout only triggers a health check, which needs no database.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval between reports of the same silence: the health check may have finished in between.
const SILENCE_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout for progress of the core: accepting bytes, or sending its first byte if no other core is healthier. Longer
/// than a model usually takes for an answer, during which the plain face reads no further line.
const CORE_TIMEOUT: Duration = Duration::from_secs(120);

/// Keepalive of client connections.
#[derive(Debug, Clone, Copy)]
pub struct KeepaliveSettings {
    /// Interval between pings.
    pub ping_interval: Duration,
    /// Timeout for a pong, and for progress of a blocked write to the client.
    pub pong_timeout: Duration,
}

/// An expired deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeartbeatEvent {
    /// A ping must be sent.
    Ping,
    /// The pong timed out.
    ClientSilent,
    /// A blocked write to the client made no progress.
    ClientStalled,
    /// The core's first byte is late. Repeated every [`SILENCE_REPORT_INTERVAL`].
    CoreSilent,
    /// A blocked write to the core made no progress, or its first byte never came.
    CoreStalled,
}

/// Progress towards the core's first byte.
#[derive(Debug, Clone, Copy)]
enum FirstByte {
    /// No line requires a reply yet.
    NotDue,
    /// A reply is due and the core has been read since `since`; its silence is reported at `report_at`.
    Due {
        since: Instant,
        report_at: Instant,
    },
    Seen,
}

impl FirstByte {
    fn due_since(since: Instant) -> Self {
        Self::Due { since, report_at: since + FIRST_BYTE_TIMEOUT }
    }
}

/// Timers of one connection.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    keepalive: KeepaliveSettings,
    ping_at: Instant,
    /// Armed while a ping is unanswered.
    pong_by: Option<Instant>,
    /// Armed while a write to the client is blocked.
    client_by: Option<Instant>,
    /// Armed while the core blocks reading from the client.
    core_by: Option<Instant>,
    first_byte: FirstByte,
    /// False while reading from the client is paused: a pong cannot be seen.
    reading: bool,
}

impl Heartbeat {
    /// Arms the ping timer at `now`.
    pub(crate) fn new(now: Instant, keepalive: KeepaliveSettings) -> Self {
        Self {
            keepalive,
            ping_at: now + keepalive.ping_interval,
            pong_by: None,
            client_by: None,
            core_by: None,
            first_byte: FirstByte::NotDue,
            reading: true,
        }
    }

    /// The client sent bytes; any byte counts as a pong.
    pub(crate) fn on_client_bytes(&mut self) {
        self.pong_by = None;
    }

    /// Reading from the client was paused or resumed.
    pub(crate) fn set_reading(&mut self, reading: bool) {
        self.reading = reading;
    }

    /// A ping was queued.
    pub(crate) fn on_ping_sent(&mut self, now: Instant) {
        // The oldest unanswered ping sets the deadline.
        self.pong_by.get_or_insert(now + self.keepalive.pong_timeout);
    }

    /// The client's socket accepted `bytes` and blocks on the rest.
    pub(crate) fn on_client_write(&mut self, now: Instant, bytes: usize) {
        let by = now + self.keepalive.pong_timeout;
        if 0 < bytes {
            self.client_by = Some(by);
            self.renew_pong(by);
        } else {
            self.client_by.get_or_insert(by);
        }
    }

    /// The write buffer to the client is empty.
    pub(crate) fn on_client_flushed(&mut self, now: Instant) {
        if self.client_by.take().is_none() {
            return;
        }
        self.renew_pong(now + self.keepalive.pong_timeout);
        // The core was not read while the client blocked: its bytes may lie unread, so its timeout restarts.
        if matches!(self.first_byte, FirstByte::Due { .. }) {
            self.first_byte = FirstByte::due_since(now);
        }
    }

    /// Restarts a pending pong timeout: the ping may have been queued behind the bytes just written.
    fn renew_pong(&mut self, by: Instant) {
        self.pong_by = self.pong_by.map(|_| by);
    }

    /// Returns true while a write to the client is blocked.
    pub(crate) fn awaits_client(&self) -> bool {
        self.client_by.is_some()
    }

    /// A line that requires a reply was forwarded.
    pub(crate) fn on_request(&mut self, now: Instant) {
        if matches!(self.first_byte, FirstByte::NotDue) {
            self.first_byte = FirstByte::due_since(now);
        }
    }

    /// Returns true before the first [`Heartbeat::on_request`].
    pub(crate) fn awaits_request(&self) -> bool {
        matches!(self.first_byte, FirstByte::NotDue)
    }

    /// The core's socket accepted `bytes` and still blocks reading from the client.
    pub(crate) fn on_core_write(&mut self, now: Instant, bytes: usize) {
        if 0 < bytes || self.core_by.is_none() {
            self.core_by = Some(now + CORE_TIMEOUT);
        }
    }

    /// The core no longer blocks reading from the client.
    pub(crate) fn on_core_flushed(&mut self) {
        self.core_by = None;
    }

    /// The core sent bytes. Returns true if they are its first.
    pub(crate) fn on_core_bytes(&mut self, now: Instant) -> bool {
        // Sending counts as progress: a busy core may be slow to read.
        self.core_by = self.core_by.map(|_| now + CORE_TIMEOUT);
        !matches!(std::mem::replace(&mut self.first_byte, FirstByte::Seen), FirstByte::Seen)
    }

    /// Returns true if [`Heartbeat::on_core_bytes`] would change a deadline.
    pub(crate) fn awaits_core(&self) -> bool {
        self.core_by.is_some() || !self.has_answered()
    }

    /// Returns true if the core has sent its first byte.
    pub(crate) fn has_answered(&self) -> bool {
        matches!(self.first_byte, FirstByte::Seen)
    }

    /// Returns the time since the core's first byte became due, while it is due.
    pub(crate) fn unanswered(&self, now: Instant) -> Option<Duration> {
        match self.first_byte {
            FirstByte::Due { since, .. } if !self.awaits_client() => Some(now.saturating_duration_since(since)),
            FirstByte::Due { .. } | FirstByte::NotDue | FirstByte::Seen => None,
        }
    }

    /// Returns the earliest deadline.
    pub(crate) fn next(&self) -> Instant {
        let deadlines = [self.pong_by, self.client_by, self.core_by, self.first_byte_by()];
        deadlines.into_iter().flatten().fold(self.ping_at, Instant::min)
    }

    fn first_byte_by(&self) -> Option<Instant> {
        // A core that is not being read must not count as silent: its reply may lie unread.
        if self.awaits_client() {
            return None;
        }
        match self.first_byte {
            FirstByte::Due { since, report_at } => Some(report_at.min(since + CORE_TIMEOUT)),
            FirstByte::NotDue | FirstByte::Seen => None,
        }
    }

    /// Returns an event whose deadline has passed at `now`. Must be called until it returns `None`.
    pub(crate) fn due(&mut self, now: Instant) -> Option<HeartbeatEvent> {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if passed(self.client_by) {
            return Some(HeartbeatEvent::ClientStalled);
        }
        if passed(self.core_by) {
            return Some(HeartbeatEvent::CoreStalled);
        }
        if passed(self.first_byte_by()) {
            return Some(self.first_byte_missed(now));
        }
        if passed(self.pong_by) {
            if self.reading {
                return Some(HeartbeatEvent::ClientSilent);
            }
            // The pong may lie in a buffer that is not being read: restart the timeout.
            self.pong_by = Some(now + self.keepalive.pong_timeout);
        }
        (self.ping_at <= now).then(|| self.ping(now)).flatten()
    }

    fn first_byte_missed(&mut self, now: Instant) -> HeartbeatEvent {
        match &mut self.first_byte {
            FirstByte::Due { since, report_at } if now < *since + CORE_TIMEOUT => {
                *report_at = now + SILENCE_REPORT_INTERVAL;
                HeartbeatEvent::CoreSilent
            }
            _ => HeartbeatEvent::CoreStalled,
        }
    }

    fn ping(&mut self, now: Instant) -> Option<HeartbeatEvent> {
        if self.client_by.is_some() {
            // A ping behind blocked bytes cannot be answered before them; progress of these bytes shows that the client
            // lives.
            self.ping_at = now + self.keepalive.pong_timeout.min(self.keepalive.ping_interval);
            return None;
        }
        self.ping_at = now + self.keepalive.ping_interval;
        Some(HeartbeatEvent::Ping)
    }
}
