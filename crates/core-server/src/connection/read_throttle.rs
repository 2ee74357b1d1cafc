//! Throttle for the lines of one client: the generic cell rate algorithm.

use std::time::Duration;

use tokio::time::Instant;

/// Lines accepted in one burst: enough for a client that resends everything without an answer after a reconnect.
const BURST: u32 = 200;
/// Minimum mean time between lines beyond the burst: 50 lines a second.
const INTERVAL: Duration = Duration::from_millis(20);

/// Back-pressure instead of rejection: reads pause, and TCP flow control slows the sender.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadThrottle {
    /// "Theoretical arrival time": the time of the next line if all lines so far had come one per [`INTERVAL`].
    due: Instant,
}

impl ReadThrottle {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now }
    }

    pub(super) fn record_line(&mut self, now: Instant) {
        self.due = self.due.max(now) + INTERVAL;
    }

    /// Returns the earliest time to read the next line.
    pub(super) fn ready_at(self) -> Instant {
        self.due.checked_sub(INTERVAL * BURST).unwrap_or(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_burst_then_one_line_per_interval() {
        // An hour after the clock's beginning, so that there is a before.
        let now = Instant::now() + Duration::from_secs(3_600);
        let mut throttle = ReadThrottle::new(now);
        for _ in 0..=BURST {
            assert!(throttle.ready_at() <= now);
            throttle.record_line(now);
        }
        assert_eq!(throttle.ready_at(), now + INTERVAL);
        let later = now + INTERVAL * 10;
        for _ in 0..10 {
            assert!(throttle.ready_at() <= later);
            throttle.record_line(later);
        }
        assert_eq!(throttle.ready_at(), later + INTERVAL);
    }
}
