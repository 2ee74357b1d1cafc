//! Stops asking a provider that fails, and finds out when it is back.
//!
//! Closed: calls pass, and their outcomes are counted. Open: no call passes for a while. Half-open:
//! one call passes as a probe; it closes the breaker or opens it again for longer. In every state none passes before
//! the time that the provider itself has named (`Retry-After`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::metrics::{BreakerState, ProviderMetrics};

/// Outcomes that are looked at: the last so many.
const WINDOW: usize = 20;
/// Fewer outcomes than this say nothing.
const MIN_OUTCOMES: usize = 10;
/// Failures among them, in percent, from which on the provider counts as down.
const FAILURE_PERCENT: usize = 50;
/// Calls in a row that were met with silence until their time limit, from which on it counts as down as well: each
/// costs a person that time. More than the calls of one message, whose prompt may be the cause.
const MAX_CONSECUTIVE_TIMEOUTS: u32 = 4;
/// How long it is left alone, at first; doubles with every probe that fails.
const OPEN_INITIAL: Duration = Duration::from_secs(5);
/// How long it is left alone at most.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// A rest that the provider asks for opens the breaker if it is at least this long, or longer than calls pause:
/// afterwards one call finds out whether it was long enough. After a shorter one all go on.
const LONG_RETRY_AFTER: Duration = Duration::from_secs(10);
/// Longest rest that is believed: a broken proxy must not cost the model for days.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// The breaker in front of one provider.
#[derive(Debug)]
pub(super) struct Breaker {
    provider: String,
    metrics: Arc<ProviderMetrics>,
    /// Longest pause of a call between two tries: a rest that is longer is not waited for.
    max_pause: Duration,
    state: Mutex<State>,
    /// It has opened because calls were met with silence.
    opened_by_timeouts: Notify,
    /// It has opened; shared by the providers of a model.
    opened: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// How often it has opened. A call from before the last opening tells nothing about the time after it.
    openings: u64,
    /// The provider wants to be asked no earlier.
    not_before: Option<Instant>,
}

#[derive(Debug)]
enum Phase {
    Closed {
        /// The last outcomes, oldest first; true: it failed.
        failed: VecDeque<bool>,
        /// Calls in a row that were met with silence.
        timeouts: u32,
        /// Pause that was in force before a probe closed the breaker, until an answer has come whole: a provider that
        /// begins its answers and does not end them is not back.
        probation: Option<Duration>,
    },
    /// `probing`: a call is under way that will decide.
    Open { until: Instant, pause: Duration, probing: bool },
}

/// Whether a provider may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Availability {
    /// As usual, after so long.
    ReadyIn(Duration),
    /// Its breaker is open.
    BreakerOpen,
}

/// The right to make one call. Dropped without a verdict it counts for nothing.
#[derive(Debug)]
pub(super) struct CallPermit<'a> {
    breaker: &'a Breaker,
    probe: Option<Probe>,
    /// [`State::openings`] when it was granted.
    opening: u64,
    first_token: bool,
    settled: bool,
}

/// A call that finds out whether a provider is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// After the time for which the provider was to be left alone.
    InTime,
    /// Before it, because no other provider is left: its failure says nothing new.
    Early,
}

impl Breaker {
    /// Closed, in front of `provider`, as it is called in logs, for calls that pause for `max_pause` at most.
    /// Notifies `opened` whenever it opens.
    pub(super) fn new(
        provider: String,
        metrics: Arc<ProviderMetrics>,
        max_pause: Duration,
        opened: Arc<Notify>,
    ) -> Self {
        let state = Mutex::new(State { phase: Phase::closed(None), openings: 0, not_before: None });
        Self { provider, metrics, max_pause, state, opened_by_timeouts: Notify::new(), opened }
    }

    /// The right to call at `now`; `None` while the provider is left alone or a probe is in flight.
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

    /// The right to call as usual, never as a probe.
    pub(super) fn closed_permit(&self, now: Instant) -> Option<CallPermit<'_>> {
        let state = self.state();
        (state.availability(now) == Availability::ReadyIn(Duration::ZERO)).then(|| self.grant(state, None))
    }

    /// The right to probe before the time, because no other provider is left to be asked; `None` where the provider
    /// itself asked for a rest, or a probe is in flight.
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

    /// When it may be asked again; `None`: now.
    pub(super) fn open_until(&self) -> Option<Instant> {
        match self.state().phase {
            Phase::Closed { .. } => None,
            Phase::Open { until, .. } => Some(until),
        }
    }

    /// Whether, and when, it may be asked as usual.
    pub(super) fn availability(&self, now: Instant) -> Availability {
        self.state().availability(now)
    }

    /// Whether a probe might be made at `now`, before the time if need be.
    pub(super) fn can_probe(&self, now: Instant) -> bool {
        let state = self.state();
        !state.must_wait(now) && matches!(state.phase, Phase::Open { probing: false, .. })
    }

    /// Whether a probe is in flight.
    pub(super) fn is_probing(&self) -> bool {
        matches!(self.state().phase, Phase::Open { probing: true, .. })
    }

    /// What it lets pass at `now`.
    pub(super) fn state_at(&self, now: Instant) -> BreakerState {
        match self.state().phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { until, probing, .. } if probing || until <= now => BreakerState::HalfOpen,
            Phase::Open { .. } => BreakerState::Open,
        }
    }

    /// Ends when it opens because calls were met with silence: what still waits then waits in vain. Counts from when
    /// it is made, not from when it is polled.
    pub(super) fn opened_by_timeouts(&self) -> Notified<'_> {
        self.opened_by_timeouts.notified()
    }

    /// Remembers that the provider, at `now`, wants to be asked `after` this time and not earlier.
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

    /// Closes at the first piece of an answer, if it was open: others need not wait for its end.
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

    /// Notes that a call went well; `counts`: it is no probe, which has closed the breaker already; `whole`: to the end
    /// of its answer.
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
    /// Whether the call finds out if the provider is back.
    pub(super) fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// The first piece of the answer has come.
    pub(super) fn first_token(&mut self) {
        self.first_token = true;
        if let Some(state) = self.current() {
            self.breaker.close_on_first_token(state);
        }
    }

    /// The whole answer has come.
    pub(super) fn succeeded(mut self) {
        self.first_token();
        self.settled = true;
        if let Some(mut state) = self.current() {
            state.succeeded(self.probe.is_none(), true);
        }
    }

    /// The call failed at `now`.
    pub(super) fn failed(self, now: Instant) {
        self.count_failure(now, false);
    }

    /// The call was met with silence until `now`, for as long as it may wait.
    pub(super) fn timed_out(self, now: Instant) {
        self.count_failure(now, true);
    }

    fn count_failure(mut self, now: Instant, timed_out: bool) {
        self.settled = true;
        if let Some(state) = self.current() {
            self.breaker.count_failure(state, now, self.probe, timed_out);
        }
    }

    /// The breaker's state; `None` if it has opened since: a call from before that must neither close it nor open it
    /// again, and a probe that a provider's later word has overtaken must not either.
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
            // Stopped in mid-answer: so far it went well.
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
    /// Counts a call that failed at `now`.
    pub(super) fn failed(&self, now: Instant) {
        self.count_failure(self.state(), now, None, false);
    }
}

#[cfg(test)]
mod tests;
