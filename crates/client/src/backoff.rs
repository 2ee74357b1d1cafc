//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// Exponential backoff with full jitter: a wait is anywhere between nothing and a ceiling
/// that doubles from `first` to `longest`, so that the clients a restart cut off at the same
/// instant do not come back at the same instant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The next wait. `chance` is random between 0 and 1. `asked` is what the server asked
    /// for, which is never shortened, only spread by the jitter.
    pub(crate) fn next(&mut self, asked: Option<Duration>, chance: f64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(self.failures.min(20)).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        asked.unwrap_or_default() + doubled.min(self.longest).mul_f64(chance.clamp(0.0, 1.0))
    }

    /// Attempts since the last good connection.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The connection was a good one.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_bounds_and_start_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(500), ms(3_000));
        // (asked, chance, wait), all in a row.
        for (asked, chance, want) in [
            (None, 1.0, 500),
            (None, 1.0, 1_000),
            (None, 0.5, 1_000),
            (None, 1.0, 3_000),
            (None, 0.0, 0),
            (Some(ms(10_000)), 1.0, 13_000),
            (Some(ms(10_000)), 0.0, 10_000),
        ] {
            assert_eq!(backoff.next(asked, chance), ms(want), "{asked:?} {chance}");
        }
        assert_eq!(backoff.failures(), 7);
        (0..100).for_each(|_| assert!(backoff.next(None, 1.0) <= ms(3_000)));
        backoff.reset();
        assert_eq!(backoff.next(None, 1.0), ms(500));
    }
}
