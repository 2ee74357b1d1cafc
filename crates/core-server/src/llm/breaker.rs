//! Stops asking a provider that fails, and finds out when it is back.
//!
//! Closed: calls pass, and their outcomes are counted. Open: no call passes for a while. Half-open:
//! one call passes as a probe; it closes the breaker or opens it again for longer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::{BreakerState, ProviderMetrics};

/// Outcomes that are looked at: the last so many.
const WINDOW: usize = 20;
/// Fewer outcomes than this say nothing.
const MIN_CALLS: usize = 10;
/// Failures among them, in percent, from which on the provider counts as down.
const FAILURE_PERCENT: usize = 50;
/// How long it is left alone, at first; doubles with every probe that fails.
const OPEN_FIRST: Duration = Duration::from_secs(5);
/// How long it is left alone at most.
const OPEN_MAX: Duration = Duration::from_secs(60);

/// The breaker in front of one provider.
#[derive(Debug)]
pub(super) struct Breaker {
    provider: String,
    metrics: Arc<ProviderMetrics>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// The last outcomes, oldest first; true: it failed.
    Closed { failed: VecDeque<bool> },
    /// `probing`: a call is under way that will decide.
    Open { until: Instant, pause: Duration, probing: bool },
}

/// The right to make one call. Dropped without a verdict it counts for nothing.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    probe: bool,
    judged: bool,
}

impl Breaker {
    /// Closed, in front of `provider`, as it is called in logs.
    pub(super) fn new(provider: String, metrics: Arc<ProviderMetrics>) -> Self {
        Self { provider, metrics, state: Mutex::new(State::Closed { failed: VecDeque::new() }) }
    }

    /// The right to call at `now`; `None` while the provider is left alone or a probe is under way.
    pub(super) fn permit(&self, now: Instant) -> Option<Permit<'_>> {
        let mut state = self.state();
        let probe = match &mut *state {
            State::Closed { .. } => false,
            State::Open { until, probing, .. } if *until <= now && !*probing => {
                *probing = true;
                self.metrics.breaker_became(BreakerState::HalfOpen);
                true
            }
            State::Open { .. } => return None,
        };
        Some(Permit { breaker: self, probe, judged: false })
    }

    /// The right to call all the same: nobody else is left to be asked.
    pub(super) fn force(&self) -> Permit<'_> {
        Permit { breaker: self, probe: false, judged: false }
    }

    /// When it may be asked again; `None`: now.
    pub(super) fn open_until(&self) -> Option<Instant> {
        match &*self.state() {
            State::Closed { .. } => None,
            State::Open { until, .. } => Some(*until),
        }
    }

    /// What it lets pass at `now`.
    pub(super) fn state_at(&self, now: Instant) -> BreakerState {
        match &*self.state() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until, probing, .. } if *probing || *until <= now => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }

    /// Counts a call that failed at `now`.
    pub(super) fn failed(&self, now: Instant) {
        let mut state = self.state();
        let pause = match &mut *state {
            State::Closed { failed } => {
                push(failed, true);
                let failures = failed.iter().filter(|failed| **failed).count();
                if failed.len() < MIN_CALLS || failures * 100 < failed.len() * FAILURE_PERCENT {
                    return;
                }
                OPEN_FIRST
            }
            // A call from before it opened tells nothing new.
            State::Open { until, probing: false, .. } if now < *until => return,
            State::Open { pause, .. } => (*pause * 2).min(OPEN_MAX),
        };
        *state = State::Open { until: now + pause, pause, probing: false };
        drop(state);
        self.metrics.breaker_became(BreakerState::Open);
        let open_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(llm.provider = %self.provider, breaker.state = "open", breaker.open_ms = open_ms, "provider left alone");
    }

    /// Counts a call that went well.
    pub(super) fn succeeded(&self) {
        let mut state = self.state();
        match &mut *state {
            State::Closed { failed } => push(failed, false),
            State::Open { .. } => {
                *state = State::Closed { failed: VecDeque::new() };
                drop(state);
                self.metrics.breaker_became(BreakerState::Closed);
                tracing::info!(llm.provider = %self.provider, breaker.state = "closed", "provider is back");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push(outcomes: &mut VecDeque<bool>, failed: bool) {
    if outcomes.len() == WINDOW {
        outcomes.pop_front();
    }
    outcomes.push_back(failed);
}

impl Permit<'_> {
    /// The call went well.
    pub(super) fn succeeded(mut self) {
        self.judged = true;
        self.breaker.succeeded();
    }

    /// The call failed at `now`.
    pub(super) fn failed(mut self, now: Instant) {
        self.judged = true;
        self.breaker.failed(now);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe
            && !self.judged
            && let State::Open { probing, .. } = &mut *self.breaker.state()
        {
            *probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The breaker as one would write it down: every outcome with its time, looked at anew each time.
    #[derive(Default)]
    struct Plain {
        outcomes: Vec<bool>,
        open: Option<(u64, u64)>,
    }

    impl Plain {
        fn passes(&self, now: u64) -> bool {
            self.open.is_none_or(|(until, _)| until <= now)
        }

        fn call(&mut self, now: u64, fails: bool) {
            let open_for = match self.open {
                Some((_, pause)) if fails => Some((pause * 2).min(60)),
                Some(_) => {
                    *self = Self::default();
                    None
                }
                None => {
                    self.outcomes.push(fails);
                    let last: Vec<bool> = self.outcomes.iter().rev().take(20).copied().collect();
                    let failures = last.iter().filter(|fails| **fails).count();
                    (fails && 10 <= last.len() && last.len() <= failures * 2).then_some(5)
                }
            };
            if let Some(pause) = open_for {
                self.open = Some((now + pause, pause));
            }
        }
    }

    fn breaker() -> Breaker {
        Breaker::new("test".to_owned(), Arc::default())
    }

    proptest! {
        #[test]
        fn as_defined(steps in proptest::collection::vec((0u64..8, any::<bool>()), 1..120)) {
            let (start, breaker) = (Instant::now(), breaker());
            let (mut plain, mut now) = (Plain::default(), 0);
            for (seconds, fails) in steps {
                now += seconds;
                let at = start + Duration::from_secs(now);
                let permit = breaker.permit(at);
                prop_assert_eq!(permit.is_some(), plain.passes(now), "at {} s", now);
                let Some(permit) = permit else { continue };
                if fails { permit.failed(at) } else { permit.succeeded() }
                plain.call(now, fails);
            }
        }
    }

    #[test]
    fn one_probe_at_a_time_and_a_cancelled_one_decides_nothing() {
        let (now, breaker) = (Instant::now(), breaker());
        for _ in 0..MIN_CALLS {
            breaker.permit(now).unwrap().failed(now);
        }
        assert!(breaker.permit(now).is_none());
        assert_eq!(breaker.open_until(), Some(now + OPEN_FIRST));
        let later = now + OPEN_FIRST;
        assert_eq!([now, later].map(|at| breaker.state_at(at)), [BreakerState::Open, BreakerState::HalfOpen]);
        let probe = breaker.permit(later).unwrap();
        assert!(breaker.permit(later).is_none(), "a second probe");
        drop(probe);
        breaker.permit(later).unwrap().succeeded();
        assert!(breaker.open_until().is_none() && breaker.permit(later).is_some());
        assert_eq!(breaker.state_at(now), BreakerState::Closed);
    }
}
