//! Timeouts of a connection, all on one timer. Without I/O: events carry their time.

use std::time::Duration;

use tokio::time::Instant;

use super::LINGER;
use crate::config::Timeouts;

/// Times of a connection on which its timeouts are based.
#[derive(Debug)]
pub(super) struct Timers {
    connected_at: Instant,
    /// Time of the last line. Base of the idle and handshake timeouts.
    pub(super) last_read_at: Instant,
    /// Start of the drain, as seen by this connection.
    draining_since: Option<Instant>,
}

/// Input of the client for which a timeout runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// None: only unwritten output keeps the connection open.
    Nothing,
    /// The first byte; the greeting delay runs.
    FirstByte,
    /// `hello` of a framed connection.
    Hello,
    Line,
}

/// Moments of a connection's other parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    pub(super) awaited: Awaited,
    /// Last progress of a write that is not finished.
    pub(super) stalled_since: Option<Instant>,
    /// End of a pause in reading.
    pub(super) paused_until: Option<Instant>,
    /// Next reminder that answers come from no person.
    pub(super) reminder_at: Option<Instant>,
}

/// An expired timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    Write,
    Drain,
    GreetDelay,
    Hello,
    Idle,
}

impl Timers {
    pub(super) fn new(connected_at: Instant) -> Self {
        Self { connected_at, last_read_at: connected_at, draining_since: None }
    }

    pub(super) fn drain(&mut self, now: Instant) {
        self.draining_since = Some(now);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining_since.is_some()
    }

    /// Returns the time until which a drain still reads an idle connection: a message on its way may call for help, and
    /// after the close no help can be shown.
    pub(super) fn lingers_until(&self, timeouts: &Timeouts) -> Option<Instant> {
        self.draining_since.map(|since| since + LINGER.min(timeouts.drain))
    }

    /// Returns the timeout that has expired at `now`; the most urgent of several.
    pub(super) fn expired(&self, timeouts: &Timeouts, now: Instant, moments: Moments) -> Option<Expiry> {
        let over = |since: Instant, limit: Duration| since + limit <= now;
        if moments.stalled_since.is_some_and(|since| over(since, timeouts.write)) {
            return Some(Expiry::Write);
        }
        if self.draining_since.is_some_and(|since| over(since, timeouts.drain)) {
            return Some(Expiry::Drain);
        }
        match moments.awaited {
            Awaited::Nothing => None,
            Awaited::FirstByte => over(self.connected_at, timeouts.greet_delay).then_some(Expiry::GreetDelay),
            Awaited::Hello if over(self.last_read_at, timeouts.handshake) => Some(Expiry::Hello),
            Awaited::Hello | Awaited::Line => over(self.last_read_at, timeouts.idle).then_some(Expiry::Idle),
        }
    }

    /// Returns the earliest time at which a timer may expire.
    pub(super) fn next_deadline(&self, timeouts: &Timeouts, now: Instant, moments: Moments) -> Instant {
        let waits_for_client = match moments.awaited {
            Awaited::Nothing => now + timeouts.idle,
            Awaited::FirstByte => self.connected_at + timeouts.greet_delay,
            Awaited::Hello => self.last_read_at + timeouts.handshake,
            Awaited::Line => self.last_read_at + timeouts.idle,
        };
        let stalled = moments.stalled_since.map(|since| since + timeouts.write);
        let drained = self.draining_since.filter(|_| moments.awaited != Awaited::Nothing).map(|since| {
            let first = self.lingers_until(timeouts).filter(|until| now < *until);
            first.unwrap_or(since + timeouts.drain)
        });
        [stalled, drained, moments.paused_until, moments.reminder_at]
            .into_iter()
            .flatten()
            .fold(waits_for_client, Instant::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUTS: Timeouts = Timeouts {
        greet_delay: Duration::from_millis(100),
        handshake: Duration::from_secs(10),
        idle: Duration::from_secs(900),
        write: Duration::from_secs(30),
        drain: Duration::from_secs(20),
    };

    fn moments(awaited: Awaited) -> Moments {
        Moments { awaited, stalled_since: None, paused_until: None, reminder_at: None }
    }

    /// Each deadline is exact: nothing expires before it, and the named timeout at it.
    #[test]
    fn expires_at_its_deadline() {
        let begin = Instant::now();
        let stalled = |seconds: u32| Some(begin + SECOND * seconds);
        let rows = [
            (moments(Awaited::FirstByte), None, 100, Expiry::GreetDelay),
            (moments(Awaited::Hello), None, 10_000, Expiry::Hello),
            (moments(Awaited::Line), None, 900_000, Expiry::Idle),
            (Moments { stalled_since: stalled(1), ..moments(Awaited::Line) }, None, 31_000, Expiry::Write),
            (Moments { stalled_since: stalled(1), ..moments(Awaited::Nothing) }, None, 31_000, Expiry::Write),
            (moments(Awaited::Line), stalled(5), 25_000, Expiry::Drain),
            (Moments { stalled_since: stalled(5), ..moments(Awaited::Line) }, stalled(20), 35_000, Expiry::Write),
        ];
        for (moments, draining_since, at_ms, want) in rows {
            let timers = Timers { draining_since, ..Timers::new(begin) };
            let at = begin + Duration::from_millis(at_ms);
            let before = at.checked_sub(Duration::from_millis(1)).unwrap();
            assert_eq!(timers.expired(&TIMEOUTS, before, moments), None, "{want:?}");
            assert_eq!(timers.expired(&TIMEOUTS, at, moments), Some(want));
            assert_eq!(timers.next_deadline(&TIMEOUTS, before, moments), at, "{want:?}");
        }
    }

    #[test]
    fn closing_connection_waits_for_no_input() {
        let begin = Instant::now();
        let timers = Timers::new(begin);
        let late = begin + TIMEOUTS.idle * 2;
        assert_eq!(timers.expired(&TIMEOUTS, late, moments(Awaited::Nothing)), None);
        assert!(late < timers.next_deadline(&TIMEOUTS, late, moments(Awaited::Nothing)));
    }

    #[test]
    fn lines_restart_the_idle_timeout_and_not_the_greeting_delay() {
        let begin = Instant::now();
        let mut timers = Timers::new(begin);
        timers.last_read_at = begin + SECOND;
        assert_eq!(timers.next_deadline(&TIMEOUTS, begin, moments(Awaited::Line)), begin + SECOND + TIMEOUTS.idle);
        assert_eq!(
            timers.next_deadline(&TIMEOUTS, begin, moments(Awaited::Hello)),
            begin + SECOND + TIMEOUTS.handshake
        );
        assert_eq!(timers.next_deadline(&TIMEOUTS, begin, moments(Awaited::FirstByte)), begin + TIMEOUTS.greet_delay);
    }

    #[test]
    fn wakes_for_the_end_of_a_pause_a_reminder_and_the_linger() {
        let begin = Instant::now();
        let mut timers = Timers::new(begin);
        let with_pause = Moments { paused_until: Some(begin + SECOND * 3), ..moments(Awaited::Line) };
        assert_eq!(timers.next_deadline(&TIMEOUTS, begin, with_pause), begin + SECOND * 3);
        let with_reminder = Moments { reminder_at: Some(begin + SECOND * 2), ..with_pause };
        assert_eq!(timers.next_deadline(&TIMEOUTS, begin, with_reminder), begin + SECOND * 2);
        timers.drain(begin);
        assert_eq!(timers.next_deadline(&TIMEOUTS, begin, with_reminder), begin + LINGER);
        assert_eq!(timers.lingers_until(&TIMEOUTS), Some(begin + LINGER));
        let short = Timeouts { drain: LINGER / 2, ..TIMEOUTS };
        assert_eq!(timers.lingers_until(&short), Some(begin + LINGER / 2));
    }
}
