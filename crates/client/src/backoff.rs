//! Backoff between attempts to connect.

use std::time::Duration;

/// Exponential backoff with full jitter: a delay between zero and a ceiling that doubles from
/// `initial` to `max`, so that clients disconnected by one restart do not reconnect at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, failures: 0 }
    }

    /// Returns the next delay. `jitter` is random in 0..=1. A delay `requested` by the server is
    /// added in full: jitter must not shorten it.
    pub(crate) fn next(&mut self, requested: Option<Duration>, jitter: f64) -> Duration {
        let doubled = self.initial.saturating_mul(1_u32.checked_shl(self.failures.min(20)).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        requested.unwrap_or_default() + doubled.min(self.max).mul_f64(jitter.clamp(0.0, 1.0))
    }

    /// Attempts since the last stable connection.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Restarts at the initial ceiling, after a stable connection.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_maximum_and_resets() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(500), ms(3_000));
        // (requested, jitter, delay), in sequence.
        for (asked, jitter, want) in [
            (None, 1.0, 500),
            (None, 1.0, 1_000),
            (None, 0.5, 1_000),
            (None, 1.0, 3_000),
            (None, 0.0, 0),
            (Some(ms(10_000)), 1.0, 13_000),
            (Some(ms(10_000)), 0.0, 10_000),
        ] {
            assert_eq!(backoff.next(asked, jitter), ms(want), "{asked:?} {jitter}");
        }
        assert_eq!(backoff.failures(), 7);
        (0..100).for_each(|_| assert!(backoff.next(None, 1.0) <= ms(3_000)));
        backoff.reset();
        assert_eq!(backoff.next(None, 1.0), ms(500));
    }
}
