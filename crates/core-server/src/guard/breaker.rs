//! Circuit breaker of the guard: each call to a failing guard would cost a person the whole deadline.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Consecutive failures that open the breaker.
const MAX_CONSECUTIVE_FAILURES: u32 = 3;
/// Time in the open state before a probe: doubles with each failed probe up to the maximum.
const OPEN_INITIAL: Duration = Duration::from_secs(10);
const OPEN_MAX: Duration = Duration::from_secs(300);

/// Circuit breaker by consecutive failures.
#[derive(Debug, Default)]
pub(super) struct GuardBreaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    until: Option<Instant>,
}

impl GuardBreaker {
    /// True if a call may be made now; while open, one probe per pause.
    pub(super) fn allow_call(&self, now: Instant) -> bool {
        let mut state = self.state();
        match state.until {
            Some(until) if now < until => false,
            Some(_) => {
                // Rearmed at once, so that concurrent callers do not probe too.
                state.until = Some(now + pause(state.failures));
                true
            }
            None => true,
        }
    }

    pub(super) fn succeeded(&self) {
        *self.state() = State::default();
    }

    /// Records a failure; returns the open time if the breaker opens or stays open.
    pub(super) fn failed(&self, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures < MAX_CONSECUTIVE_FAILURES {
            return None;
        }
        let pause = pause(state.failures);
        state.until = Some(now + pause);
        Some(pause)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause(failures: u32) -> Duration {
    let doubled = failures.saturating_sub(MAX_CONSECUTIVE_FAILURES).min(16);
    OPEN_INITIAL.saturating_mul(1 << doubled).min(OPEN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_three_failures_and_allows_one_probe_per_pause() {
        let (breaker, begin) = (GuardBreaker::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!((breaker.failed(at(0)), breaker.failed(at(0))), (None, None));
        breaker.succeeded();
        assert_eq!((breaker.failed(at(0)), breaker.failed(at(0))), (None, None), "only in a row");
        assert_eq!(breaker.failed(at(0)), Some(OPEN_INITIAL));
        assert!(!breaker.allow_call(at(9)));
        assert!(breaker.allow_call(at(10)));
        assert!(!breaker.allow_call(at(10)), "one at a time");
        assert_eq!(breaker.failed(at(11)), Some(2 * OPEN_INITIAL));
        assert!(!breaker.allow_call(at(30)));
        assert!(breaker.allow_call(at(31)));
        breaker.succeeded();
        assert!(breaker.allow_call(at(31)) && breaker.allow_call(at(31)));
    }

    #[test]
    fn an_abandoned_probe_is_replaced_after_the_pause() {
        let (breaker, begin) = (GuardBreaker::default(), Instant::now());
        let paused = (0..MAX_CONSECUTIVE_FAILURES).filter_map(|_| breaker.failed(begin)).count();
        assert_eq!(paused, 1);
        assert!(breaker.allow_call(begin + OPEN_INITIAL));
        assert!(breaker.allow_call(begin + 2 * OPEN_INITIAL));
    }

    #[test]
    fn pause_is_bounded() {
        assert_eq!(pause(u32::MAX), OPEN_MAX);
    }
}
