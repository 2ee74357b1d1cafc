//! Leaves a guard alone that fails: each call to it would cost a person the whole time limit.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which it is left alone.
const MAX_CONSECUTIVE_FAILURES: u32 = 3;
/// Time until one call finds out whether it is back; doubled with each that fails, up to the longest.
const OPEN_INITIAL: Duration = Duration::from_secs(10);
const OPEN_MAX: Duration = Duration::from_secs(300);

/// A circuit breaker.
#[derive(Debug, Default)]
pub(super) struct GuardBreaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    until: Option<Instant>,
}

impl GuardBreaker {
    /// Tells whether a call may be made now. After failures that is one in each pause.
    pub(super) fn allow_call(&self, now: Instant) -> bool {
        let mut state = self.state();
        match state.until {
            Some(until) if now < until => false,
            Some(_) => {
                // The others wait for what becomes of this one.
                state.until = Some(now + pause(state.failures));
                true
            }
            None => true,
        }
    }

    pub(super) fn succeeded(&self) {
        *self.state() = State::default();
    }

    /// Returns how long it is left alone, if that begins now or is prolonged.
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
    fn three_failures_in_a_row_and_one_call_in_each_pause() {
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
    fn a_call_that_nobody_ended_is_followed_by_another_one() {
        let (breaker, begin) = (GuardBreaker::default(), Instant::now());
        let paused = (0..MAX_CONSECUTIVE_FAILURES).filter_map(|_| breaker.failed(begin)).count();
        assert_eq!(paused, 1);
        assert!(breaker.allow_call(begin + OPEN_INITIAL));
        assert!(breaker.allow_call(begin + 2 * OPEN_INITIAL));
    }

    #[test]
    fn the_pause_has_a_bound() {
        assert_eq!(pause(u32::MAX), OPEN_MAX);
    }
}
