//! Deadlines of a connection: pings and pongs, writes without progress, a core that does not answer.
//!
//! A state machine without sockets and without a clock. Events come in with their time; each deadline is armed
//! and disarmed by events alone. Sampling a state when a timer fires would lose what happened in between: a
//! buffer that was emptied and filled again looks as if it had never been emptied.

use std::time::Duration;

use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Time for the core's first byte after a line that has to be answered. A database that is away may hold up an answer
/// for longer: what comes of the silence is decided by a check that needs no database.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two reports of the same silence: the check of the core may have been decided meanwhile.
const SILENCE_REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Time for the core to go on: to take bytes that wait for it, or to send its first byte where no other core is
/// better. Longer than a model takes for an answer, during which the plain face reads no further line.
const CORE_TIMEOUT: Duration = Duration::from_secs(120);

/// Time limits for a client.
#[derive(Debug, Clone, Copy)]
pub struct KeepaliveSettings {
    /// Between two pings.
    pub ping_interval: Duration,
    /// For a pong after a ping, and for the client to take some of what is written to it.
    pub pong_timeout: Duration,
}

/// A deadline that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeartbeatEvent {
    /// A ping is due.
    Ping,
    /// The client sent nothing after a ping.
    ClientSilent,
    /// The client took nothing of what waits for it.
    ClientStalled,
    /// The core has not sent a byte since its first line. Reported again and again while that lasts.
    CoreSilent,
    /// The core took nothing of what waits for it, or is silent for good.
    CoreStalled,
}

/// Whether the core answers at all.
#[derive(Debug, Clone, Copy)]
enum FirstByte {
    /// No line has to be answered yet.
    NotDue,
    /// A line that has to be answered is there, and the core is read, since `since`; its silence is
    /// reported at `report_at`.
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

/// Deadlines of one connection.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    keepalive: KeepaliveSettings,
    ping_at: Instant,
    /// Only while a ping that was sent is unanswered.
    pong_by: Option<Instant>,
    /// Only while bytes wait that the client's socket does not take.
    client_by: Option<Instant>,
    /// Only while the core holds up the client.
    core_by: Option<Instant>,
    first_byte: FirstByte,
    /// The client is being read; while it is not, its pong cannot be heard.
    reading: bool,
}

impl Heartbeat {
    /// Deadlines of a connection that begins at `now`.
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

    /// Bytes came from the client.
    pub(crate) fn on_client_bytes(&mut self) {
        self.pong_by = None;
    }

    /// The client is read from now on, or is not because something else has to go first.
    pub(crate) fn set_reading(&mut self, reading: bool) {
        self.reading = reading;
    }

    /// A ping was added to what is written to the client.
    pub(crate) fn on_ping_sent(&mut self, now: Instant) {
        // Of several pings without an answer the first one counts.
        self.pong_by.get_or_insert(now + self.keepalive.pong_timeout);
    }

    /// The client's socket took `bytes` and more wait for it.
    pub(crate) fn on_client_write(&mut self, now: Instant, bytes: usize) {
        let by = now + self.keepalive.pong_timeout;
        if 0 < bytes {
            self.client_by = Some(by);
            self.renew_pong(by);
        } else {
            self.client_by.get_or_insert(by);
        }
    }

    /// Nothing waits for the client any more.
    pub(crate) fn on_client_flushed(&mut self, now: Instant) {
        if self.client_by.take().is_none() {
            return;
        }
        self.renew_pong(now + self.keepalive.pong_timeout);
        // The core is read again only from here on: what it sent meanwhile may lie unread.
        if matches!(self.first_byte, FirstByte::Due { .. }) {
            self.first_byte = FirstByte::due_since(now);
        }
    }

    /// The ping may stand behind the bytes that have just been taken: the client has all its time from here on.
    fn renew_pong(&mut self, by: Instant) {
        self.pong_by = self.pong_by.map(|_| by);
    }

    /// Whether bytes wait for the client.
    pub(crate) fn awaits_client(&self) -> bool {
        self.client_by.is_some()
    }

    /// The core has got a line that has to be answered.
    pub(crate) fn on_request(&mut self, now: Instant) {
        if matches!(self.first_byte, FirstByte::NotDue) {
            self.first_byte = FirstByte::due_since(now);
        }
    }

    /// Whether [`Heartbeat::on_request`] is still to come.
    pub(crate) fn awaits_request(&self) -> bool {
        matches!(self.first_byte, FirstByte::NotDue)
    }

    /// The core took `bytes` and holds up the client still.
    pub(crate) fn on_core_write(&mut self, now: Instant, bytes: usize) {
        if 0 < bytes || self.core_by.is_none() {
            self.core_by = Some(now + CORE_TIMEOUT);
        }
    }

    /// The core no longer holds up the client.
    pub(crate) fn on_core_flushed(&mut self) {
        self.core_by = None;
    }

    /// The core sent bytes. Returns whether they are its first.
    pub(crate) fn on_core_bytes(&mut self, now: Instant) -> bool {
        // A core that is busy sending may be slow to read.
        self.core_by = self.core_by.map(|_| now + CORE_TIMEOUT);
        !matches!(std::mem::replace(&mut self.first_byte, FirstByte::Seen), FirstByte::Seen)
    }

    /// Whether [`Heartbeat::on_core_bytes`] changes anything.
    pub(crate) fn awaits_core(&self) -> bool {
        self.core_by.is_some() || !self.has_answered()
    }

    /// Whether the core has sent anything.
    pub(crate) fn has_answered(&self) -> bool {
        matches!(self.first_byte, FirstByte::Seen)
    }

    /// Time for which the core was read and owed its first byte, if it still owes it.
    pub(crate) fn unanswered(&self, now: Instant) -> Option<Duration> {
        match self.first_byte {
            FirstByte::Due { since, .. } if !self.awaits_client() => Some(now.saturating_duration_since(since)),
            FirstByte::Due { .. } | FirstByte::NotDue | FirstByte::Seen => None,
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Instant {
        let deadlines = [self.pong_by, self.client_by, self.core_by, self.first_byte_by()];
        deadlines.into_iter().flatten().fold(self.ping_at, Instant::min)
    }

    fn first_byte_by(&self) -> Option<Instant> {
        // A core that is not read must not be taken for one that is silent: its answer may be there.
        if self.awaits_client() {
            return None;
        }
        match self.first_byte {
            FirstByte::Due { since, report_at } => Some(report_at.min(since + CORE_TIMEOUT)),
            FirstByte::NotDue | FirstByte::Seen => None,
        }
    }

    /// The event whose deadline has passed at `now`. To be called again until there is none.
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
            // Its pong may be in a buffer that is not read: the time starts over.
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
            // Behind bytes that wait it would not be answered sooner than they are taken: until then these show
            // whether the client lives.
            self.ping_at = now + self.keepalive.pong_timeout.min(self.keepalive.ping_interval);
            return None;
        }
        self.ping_at = now + self.keepalive.ping_interval;
        Some(HeartbeatEvent::Ping)
    }
}
