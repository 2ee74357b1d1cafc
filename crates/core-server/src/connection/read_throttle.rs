//! How fast a client's lines are read.

use std::time::Duration;

use tokio::time::Instant;

/// Lines a client may send at once: a replay of everything it has not heard of, and more.
const BURST: u32 = 200;
/// Time between two lines of a client that keeps sending.
const INTERVAL: Duration = Duration::from_millis(20);

/// Who sends more is not refused, but read no faster: their own TCP connection fills up.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadThrottle {
    /// When a client that had sent at the pace of [`INTERVAL`] would have sent all it has sent
    /// ("theoretical arrival time" of the generic cell rate algorithm).
    due: Instant,
}

impl ReadThrottle {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now }
    }

    /// A line was read at `now`.
    pub(super) fn record_line(&mut self, now: Instant) {
        self.due = self.due.max(now) + INTERVAL;
    }

    /// When the next line may be read.
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
