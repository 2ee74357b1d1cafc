//! Circuit breaker of a provider.
//!
//! Closed: calls pass, and their outcomes are recorded. Open: calls fail fast. Half-open: one probe passes, and closes
//! the breaker or reopens it for twice as long. In every state no call passes before the provider's own `Retry-After`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::breaker_state::BreakerState;
use super::metrics::ProviderMetrics;

/// Size of the sliding window of outcomes.
const WINDOW: usize = 20;
/// Minimum outcomes in the window before the failure rate counts.
const MIN_OUTCOMES: usize = 10;
/// Failure rate that opens the breaker, in percent.
const FAILURE_PERCENT: usize = 50;
/// Consecutive timeouts that open the breaker before the failure rate does: each costs a person the whole limit. More
/// than the calls of one message, whose prompt may be the cause.
const MAX_CONSECUTIVE_TIMEOUTS: u32 = 4;
/// First time in the open state; doubles with each failed probe.
const OPEN_INITIAL: Duration = Duration::from_secs(5);
/// Longest time in the open state without a `Retry-After`.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// Minimum `Retry-After` that opens the breaker even where calls would back off that long: then one probe checks it
/// before all calls resume. After a shorter one all resume at once.
const LONG_RETRY_AFTER: Duration = Duration::from_secs(10);
/// Cap on `Retry-After`: a broken proxy must not disable the model for days.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// Circuit breaker in front of one provider.
#[derive(Debug)]
pub(super) struct Breaker {
    provider: String,
    metrics: Arc<ProviderMetrics>,
    /// Longest backoff of a call: a longer `Retry-After` opens the breaker, as no call waits for it.
    max_pause: Duration,
    /// Must not be held while waiters are notified or lines are logged: every call takes it.
    state: Mutex<State>,
    /// Notified when timeouts open the breaker.
    opened_by_timeouts: Notify,
    /// Notified when the breaker opens; shared by the providers of a model.
    opened: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Number of openings: separates the calls of this closed phase from older ones, whose outcomes are stale.
    openings: u64,
    /// End of the provider's `Retry-After`.
    not_before: Option<Instant>,
}

#[derive(Debug)]
enum Phase {
    Closed {
        /// Sliding window, oldest first; true: failure.
        failed: VecDeque<bool>,
        /// Consecutive timeouts.
        timeouts: u32,
        /// Open time before the last probe, kept until an answer completes: a provider that begins answers and never
        /// ends them has not recovered, and reopens with twice this time.
        probation: Option<Duration>,
    },
    /// `probing`: a probe is in flight.
    Open { until: Instant, pause: Duration, probing: bool },
}

/// Availability of a provider for ordinary calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Availability {
    /// Closed; the next call may be made after this time.
    ReadyIn(Duration),
    /// Open or half-open.
    BreakerOpen,
}

/// RAII permit for one call. Dropped without an outcome it records none, or a success after the first token.
#[derive(Debug)]
pub(super) struct CallPermit<'a> {
    breaker: &'a Breaker,
    probe: Option<Probe>,
    /// [`State::openings`] when it was granted.
    opening: u64,
    first_token: bool,
    settled: bool,
}

/// Probe of a provider that is not known to have recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// Half-open: the open time is over.
    InTime,
    /// Before its end, because every breaker is open: a failure is no news and must not prolong the open time.
    Early,
}

impl Breaker {
    /// Creates a closed breaker. `provider`: name for logs; `max_pause`: longest backoff of a call; `opened` is
    /// notified whenever it opens.
    pub(super) fn new(
        provider: String,
        metrics: Arc<ProviderMetrics>,
        max_pause: Duration,
        opened: Arc<Notify>,
    ) -> Self {
        let state = Mutex::new(State { phase: Phase::closed(None), openings: 0, not_before: None });
        Self { provider, metrics, max_pause, state, opened_by_timeouts: Notify::new(), opened }
    }

    /// Permits a call at `now`, as the probe if half-open; `None` if open or already probing.
    pub(super) fn permit(&self, now: Instant) -> Option<CallPermit<'_>> {
        let mut state = self.state();
        if state.must_wait(now) {
            return None;
        }
        let probe = match &mut state.phase {
            Phase::Closed { .. } => None,
            Phase::Open { until, probing, .. } if *until <= now && !*probing => {
                *probing = true;
                Some(Probe::InTime)
            }
            Phase::Open { .. } => return None,
        };
        Some(self.grant(state, probe))
    }

    /// Permits an ordinary call, never a probe.
    pub(super) fn closed_permit(&self, now: Instant) -> Option<CallPermit<'_>> {
        let state = self.state();
        (state.availability(now) == Availability::ReadyIn(Duration::ZERO)).then(|| self.grant(state, None))
    }

    /// Permits a probe before the end of the open time, for when every provider is open; `None` during a `Retry-After`
    /// or another probe.
    pub(super) fn early_probe(&self, now: Instant) -> Option<CallPermit<'_>> {
        let mut state = self.state();
        if state.must_wait(now) {
            return None;
        }
        match &mut state.phase {
            Phase::Open { probing, .. } if !*probing => *probing = true,
            Phase::Open { .. } | Phase::Closed { .. } => return None,
        }
        Some(self.grant(state, Some(Probe::Early)))
    }

    fn grant(&self, state: MutexGuard<'_, State>, probe: Option<Probe>) -> CallPermit<'_> {
        let opening = state.openings;
        drop(state);
        if probe.is_some() {
            self.metrics.breaker_transition(BreakerState::HalfOpen);
        }
        CallPermit { breaker: self, probe, opening, first_token: false, settled: false }
    }

    /// End of the open time; `None` if closed.
    pub(super) fn open_until(&self) -> Option<Instant> {
        match self.state().phase {
            Phase::Closed { .. } => None,
            Phase::Open { until, .. } => Some(until),
        }
    }

    /// Availability for ordinary calls.
    pub(super) fn availability(&self, now: Instant) -> Availability {
        self.state().availability(now)
    }

    /// True if a probe could be made at `now`, early if need be.
    pub(super) fn can_probe(&self, now: Instant) -> bool {
        let state = self.state();
        !state.must_wait(now) && matches!(state.phase, Phase::Open { probing: false, .. })
    }

    /// True while a probe is in flight.
    pub(super) fn is_probing(&self) -> bool {
        matches!(self.state().phase, Phase::Open { probing: true, .. })
    }

    /// State at `now`.
    pub(super) fn state_at(&self, now: Instant) -> BreakerState {
        match self.state().phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { until, probing, .. } if probing || until <= now => BreakerState::HalfOpen,
            Phase::Open { .. } => BreakerState::Open,
        }
    }

    /// Completes when timeouts open the breaker. Subscribes at the call, not at the first poll.
    pub(super) fn opened_by_timeouts(&self) -> Notified<'_> {
        self.opened_by_timeouts.notified()
    }

    /// Blocks calls until `after` from `now`, and opens the breaker if that is long.
    pub(super) fn honor_retry_after(&self, now: Instant, after: Duration) {
        let until = now + after.min(MAX_RETRY_AFTER);
        let mut state = self.state();
        state.not_before = state.not_before.max(Some(until));
        if after < LONG_RETRY_AFTER && after <= self.max_pause {
            return;
        }
        let (until, pause) = match state.phase {
            Phase::Open { until: earlier, pause, .. } => (until.max(earlier), pause),
            Phase::Closed { .. } => (until, OPEN_INITIAL),
        };
        self.open(state, until, pause);
    }

    /// Records a failure. The lock is released before `opened_by_timeouts` is notified: the woken calls take it again.
    fn count_failure(&self, mut state: MutexGuard<'_, State>, now: Instant, probe: Option<Probe>, timed_out: bool) {
        let pause = match &mut state.phase {
            Phase::Closed { probation: Some(pause), .. } => (*pause * 2).min(OPEN_MAX),
            Phase::Closed { failed, timeouts, probation: None } => {
                push(failed, true);
                *timeouts = if timed_out { *timeouts + 1 } else { 0 };
                let failures = failed.iter().filter(|failed| **failed).count();
                let fails = MIN_OUTCOMES <= failed.len() && failed.len() * FAILURE_PERCENT <= failures * 100;
                if !fails && *timeouts < MAX_CONSECUTIVE_TIMEOUTS {
                    return;
                }
                OPEN_INITIAL
            }
            Phase::Open { .. } if probe.is_none() => return,
            Phase::Open { until, probing, .. } if probe == Some(Probe::Early) && now < *until => {
                *probing = false;
                return;
            }
            Phase::Open { pause, .. } => (*pause * 2).min(OPEN_MAX),
        };
        self.open(state, now + pause, pause);
        if timed_out {
            self.opened_by_timeouts.notify_waiters();
        }
    }

    fn open(&self, mut state: MutexGuard<'_, State>, until: Instant, pause: Duration) {
        state.phase = Phase::Open { until, pause, probing: false };
        state.openings += 1;
        drop(state);
        self.metrics.breaker_transition(BreakerState::Open);
        let open_for = until.saturating_duration_since(Instant::now());
        let open_ms = u64::try_from(open_for.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(llm.provider = %self.provider, breaker.state = "open", breaker.open_ms = open_ms, "circuit breaker opened");
        self.opened.notify_waiters();
    }

    /// Closes at the probe's first token: the other calls must not wait for the end of its answer.
    fn close_on_first_token(&self, mut state: MutexGuard<'_, State>) {
        let Phase::Open { pause, .. } = state.phase else { return };
        (state.phase, state.not_before) = (Phase::closed(Some(pause)), None);
        drop(state);
        self.metrics.breaker_transition(BreakerState::Closed);
        tracing::info!(llm.provider = %self.provider, breaker.state = "closed", "circuit breaker closed");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn availability(&self, now: Instant) -> Availability {
        match self.phase {
            Phase::Open { .. } => Availability::BreakerOpen,
            Phase::Closed { .. } => {
                Availability::ReadyIn(self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)))
            }
        }
    }

    /// Records a success; `counts`: it enters the window, as a probe's does not, which has closed the breaker already;
    /// `complete`: its answer ended.
    fn succeeded(&mut self, counts: bool, complete: bool) {
        if let Phase::Closed { failed, timeouts, probation } = &mut self.phase {
            if counts {
                push(failed, false);
            }
            *timeouts = 0;
            if complete {
                *probation = None;
            }
        }
    }

    fn must_wait(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|at| now < at)
    }
}

impl Phase {
    fn closed(probation: Option<Duration>) -> Self {
        Self::Closed { failed: VecDeque::new(), timeouts: 0, probation }
    }
}

fn push(outcomes: &mut VecDeque<bool>, failed: bool) {
    if outcomes.len() == WINDOW {
        outcomes.pop_front();
    }
    outcomes.push_back(failed);
}

impl<'a> CallPermit<'a> {
    /// True for a probe.
    pub(super) fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// Records the first token.
    pub(super) fn first_token(&mut self) {
        self.first_token = true;
        if let Some(state) = self.current() {
            self.breaker.close_on_first_token(state);
        }
    }

    /// Records a complete answer.
    pub(super) fn succeeded(mut self) {
        self.first_token();
        self.settled = true;
        if let Some(mut state) = self.current() {
            state.succeeded(self.probe.is_none(), true);
        }
    }

    /// Records a failure at `now`.
    pub(super) fn failed(self, now: Instant) {
        self.count_failure(now, false);
    }

    /// Records a timeout at `now`.
    pub(super) fn timed_out(self, now: Instant) {
        self.count_failure(now, true);
    }

    fn count_failure(mut self, now: Instant, timed_out: bool) {
        self.settled = true;
        if let Some(state) = self.current() {
            self.breaker.count_failure(state, now, self.probe, timed_out);
        }
    }

    /// Locks the state; `None` if the breaker has opened since the permit: a stale call must neither close nor reopen
    /// it, nor must a probe that a later `Retry-After` has overtaken.
    fn current(&self) -> Option<MutexGuard<'a, State>> {
        Some(self.breaker.state()).filter(|state| state.openings == self.opening)
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let Some(mut state) = self.current() else { return };
        if self.first_token {
            // Cancelled mid-answer by the person: the provider was fine so far.
            state.succeeded(self.probe.is_none(), false);
        } else if self.probe.is_some()
            && let Phase::Open { probing, .. } = &mut state.phase
        {
            *probing = false;
        }
    }
}

#[cfg(test)]
impl Breaker {
    /// Records a failure outside of any permit.
    pub(super) fn failed(&self, now: Instant) {
        self.count_failure(self.state(), now, None, false);
    }
}

#[cfg(test)]
mod tests;
