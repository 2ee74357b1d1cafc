//! Leaves a guard alone that fails: each call to it would cost a person the whole time limit.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which it is left alone.
const FAILURES: u32 = 3;
/// Time until one call finds out whether it is back; doubled with each that fails, up to the longest.
const PAUSE: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// A circuit breaker.
#[derive(Debug, Default)]
pub(super) struct Rest(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    until: Option<Instant>,
}

impl Rest {
    /// Tells whether a call may be made now. After failures that is one in each pause.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
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
        if state.failures < FAILURES {
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
    let doubled = failures.saturating_sub(FAILURES).min(16);
    PAUSE.saturating_mul(1 << doubled).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_and_one_call_in_each_pause() {
        let (rest, begin) = (Rest::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!((rest.failed(at(0)), rest.failed(at(0))), (None, None));
        rest.succeeded();
        assert_eq!((rest.failed(at(0)), rest.failed(at(0))), (None, None), "only in a row");
        assert_eq!(rest.failed(at(0)), Some(PAUSE));
        assert!(!rest.may_ask(at(9)));
        assert!(rest.may_ask(at(10)));
        assert!(!rest.may_ask(at(10)), "one at a time");
        assert_eq!(rest.failed(at(11)), Some(2 * PAUSE));
        assert!(!rest.may_ask(at(30)));
        assert!(rest.may_ask(at(31)));
        rest.succeeded();
        assert!(rest.may_ask(at(31)) && rest.may_ask(at(31)));
    }

    #[test]
    fn a_call_that_nobody_ended_is_followed_by_another_one() {
        let (rest, begin) = (Rest::default(), Instant::now());
        let paused = (0..FAILURES).filter_map(|_| rest.failed(begin)).count();
        assert_eq!(paused, 1);
        assert!(rest.may_ask(begin + PAUSE));
        assert!(rest.may_ask(begin + 2 * PAUSE));
    }

    #[test]
    fn the_pause_has_a_bound() {
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }
}
