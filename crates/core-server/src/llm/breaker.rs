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
const MIN_CALLS: usize = 10;
/// Failures among them, in percent, from which on the provider counts as down.
const FAILURE_PERCENT: usize = 50;
/// Calls in a row that were met with silence until their time limit, from which on it counts as down as well: each
/// costs a person that time. More than the calls of one message, whose prompt may be the cause.
const SILENT_CALLS: u32 = 4;
/// How long it is left alone, at first; doubles with every probe that fails.
const OPEN_FIRST: Duration = Duration::from_secs(5);
/// How long it is left alone at most.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// A rest that the provider asks for opens the breaker if it is at least this long, or longer than calls pause:
/// afterwards one call finds out whether it was long enough. After a shorter one all go on.
const LONG_REST: Duration = Duration::from_secs(10);
/// Longest rest that is believed: a broken proxy must not cost the model for days.
const REST_MAX: Duration = Duration::from_secs(3_600);

/// The breaker in front of one provider.
#[derive(Debug)]
pub(super) struct Breaker {
    provider: String,
    metrics: Arc<ProviderMetrics>,
    /// Longest pause of a call between two tries: a rest that is longer is not waited for.
    longest_pause: Duration,
    state: Mutex<State>,
    /// It has opened because calls were met with silence.
    silenced: Notify,
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
        silent: u32,
        /// Pause that was in force before a probe closed the breaker, until an answer has come whole: a provider that
        /// begins its answers and does not end them is not back.
        trial: Option<Duration>,
    },
    /// `probing`: a call is under way that will decide.
    Open { until: Instant, pause: Duration, probing: bool },
}

/// Whether a provider may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// As usual, after so long.
    After(Duration),
    /// Its breaker is open.
    LeftAlone,
}

/// The right to make one call. Dropped without a verdict it counts for nothing.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    probe: Option<Probe>,
    /// [`State::openings`] when it was granted.
    opening: u64,
    begun: bool,
    judged: bool,
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
    /// Closed, in front of `provider`, as it is called in logs, for calls that pause for `longest_pause` at most.
    /// Notifies `opened` whenever it opens.
    pub(super) fn new(
        provider: String,
        metrics: Arc<ProviderMetrics>,
        longest_pause: Duration,
        opened: Arc<Notify>,
    ) -> Self {
        let state = Mutex::new(State { phase: Phase::closed(None), openings: 0, not_before: None });
        Self { provider, metrics, longest_pause, state, silenced: Notify::new(), opened }
    }

    /// The right to call at `now`; `None` while the provider is left alone or a probe is in flight.
    pub(super) fn permit(&self, now: Instant) -> Option<Permit<'_>> {
        let mut state = self.state();
        if state.rests(now) {
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
    pub(super) fn usual_permit(&self, now: Instant) -> Option<Permit<'_>> {
        let state = self.state();
        (state.standing(now) == Standing::After(Duration::ZERO)).then(|| self.grant(state, None))
    }

    /// The right to probe before the time, because no other provider is left to be asked; `None` where the provider
    /// itself asked for a rest, or a probe is in flight.
    pub(super) fn early_permit(&self, now: Instant) -> Option<Permit<'_>> {
        let mut state = self.state();
        if state.rests(now) {
            return None;
        }
        match &mut state.phase {
            Phase::Open { probing, .. } if !*probing => *probing = true,
            Phase::Open { .. } | Phase::Closed { .. } => return None,
        }
        Some(self.grant(state, Some(Probe::Early)))
    }

    fn grant(&self, state: MutexGuard<'_, State>, probe: Option<Probe>) -> Permit<'_> {
        let opening = state.openings;
        drop(state);
        if probe.is_some() {
            self.metrics.breaker_became(BreakerState::HalfOpen);
        }
        Permit { breaker: self, probe, opening, begun: false, judged: false }
    }

    /// When it may be asked again; `None`: now.
    pub(super) fn open_until(&self) -> Option<Instant> {
        match self.state().phase {
            Phase::Closed { .. } => None,
            Phase::Open { until, .. } => Some(until),
        }
    }

    /// Whether, and when, it may be asked as usual.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        self.state().standing(now)
    }

    /// Whether a probe might be made at `now`, before the time if need be.
    pub(super) fn may_be_probed(&self, now: Instant) -> bool {
        let state = self.state();
        !state.rests(now) && matches!(state.phase, Phase::Open { probing: false, .. })
    }

    /// Whether a probe is in flight.
    pub(super) fn is_probed(&self) -> bool {
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
    pub(super) fn silenced(&self) -> Notified<'_> {
        self.silenced.notified()
    }

    /// Remembers that the provider, at `now`, wants to be asked `after` this time and not earlier.
    pub(super) fn rest(&self, now: Instant, after: Duration) {
        let until = now + after.min(REST_MAX);
        let mut state = self.state();
        state.not_before = state.not_before.max(Some(until));
        if after < LONG_REST && after <= self.longest_pause {
            return;
        }
        let (until, pause) = match state.phase {
            Phase::Open { until: earlier, pause, .. } => (until.max(earlier), pause),
            Phase::Closed { .. } => (until, OPEN_FIRST),
        };
        self.open(state, until, pause);
    }

    fn count_failure(&self, mut state: MutexGuard<'_, State>, now: Instant, probe: Option<Probe>, silence: bool) {
        let pause = match &mut state.phase {
            Phase::Closed { trial: Some(pause), .. } => (*pause * 2).min(OPEN_MAX),
            Phase::Closed { failed, silent, trial: None } => {
                push(failed, true);
                *silent = if silence { *silent + 1 } else { 0 };
                let failures = failed.iter().filter(|failed| **failed).count();
                let fails = MIN_CALLS <= failed.len() && failed.len() * FAILURE_PERCENT <= failures * 100;
                if !fails && *silent < SILENT_CALLS {
                    return;
                }
                OPEN_FIRST
            }
            Phase::Open { .. } if probe.is_none() => return,
            Phase::Open { until, probing, .. } if probe == Some(Probe::Early) && now < *until => {
                *probing = false;
                return;
            }
            Phase::Open { pause, .. } => (*pause * 2).min(OPEN_MAX),
        };
        self.open(state, now + pause, pause);
        if silence {
            self.silenced.notify_waiters();
        }
    }

    fn open(&self, mut state: MutexGuard<'_, State>, until: Instant, pause: Duration) {
        state.phase = Phase::Open { until, pause, probing: false };
        state.openings += 1;
        drop(state);
        self.metrics.breaker_became(BreakerState::Open);
        let open_for = until.saturating_duration_since(Instant::now());
        let open_ms = u64::try_from(open_for.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(llm.provider = %self.provider, breaker.state = "open", breaker.open_ms = open_ms, "provider left alone");
        self.opened.notify_waiters();
    }

    /// Closes at the first piece of an answer, if it was open: others need not wait for its end.
    fn answers(&self, mut state: MutexGuard<'_, State>) {
        let Phase::Open { pause, .. } = state.phase else { return };
        (state.phase, state.not_before) = (Phase::closed(Some(pause)), None);
        drop(state);
        self.metrics.breaker_became(BreakerState::Closed);
        tracing::info!(llm.provider = %self.provider, breaker.state = "closed", "provider is back");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn standing(&self, now: Instant) -> Standing {
        match self.phase {
            Phase::Open { .. } => Standing::LeftAlone,
            Phase::Closed { .. } => {
                Standing::After(self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)))
            }
        }
    }

    /// Notes that a call went well; `counts`: it is no probe, which has closed the breaker already; `whole`: to the end
    /// of its answer.
    fn succeeded(&mut self, counts: bool, whole: bool) {
        if let Phase::Closed { failed, silent, trial } = &mut self.phase {
            if counts {
                push(failed, false);
            }
            *silent = 0;
            if whole {
                *trial = None;
            }
        }
    }

    fn rests(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|at| now < at)
    }
}

impl Phase {
    fn closed(trial: Option<Duration>) -> Self {
        Self::Closed { failed: VecDeque::new(), silent: 0, trial }
    }
}

fn push(outcomes: &mut VecDeque<bool>, failed: bool) {
    if outcomes.len() == WINDOW {
        outcomes.pop_front();
    }
    outcomes.push_back(failed);
}

impl<'a> Permit<'a> {
    /// Whether the call finds out if the provider is back.
    pub(super) fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// The first piece of the answer has come.
    pub(super) fn begun(&mut self) {
        self.begun = true;
        if let Some(state) = self.current() {
            self.breaker.answers(state);
        }
    }

    /// The whole answer has come.
    pub(super) fn succeeded(mut self) {
        self.begun();
        self.judged = true;
        if let Some(mut state) = self.current() {
            state.succeeded(self.probe.is_none(), true);
        }
    }

    /// The call failed at `now`.
    pub(super) fn failed(self, now: Instant) {
        self.count_failure(now, false);
    }

    /// The call was met with silence until `now`, for as long as it may wait.
    pub(super) fn silent(self, now: Instant) {
        self.count_failure(now, true);
    }

    fn count_failure(mut self, now: Instant, silence: bool) {
        self.judged = true;
        if let Some(state) = self.current() {
            self.breaker.count_failure(state, now, self.probe, silence);
        }
    }

    /// The breaker's state; `None` if it has opened since: a call from before that must neither close it nor open it
    /// again, and a probe that a provider's later word has overtaken must not either.
    fn current(&self) -> Option<MutexGuard<'a, State>> {
        Some(self.breaker.state()).filter(|state| state.openings == self.opening)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.judged {
            return;
        }
        let Some(mut state) = self.current() else { return };
        if self.begun {
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
