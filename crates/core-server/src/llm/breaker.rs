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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
        Breaker::new("test".to_owned(), Arc::default(), LONGEST_PAUSE, Arc::default())
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

    #[test]
    fn silence_opens_sooner_than_failures() {
        let (now, breaker) = (Instant::now(), breaker());
        let silent = || breaker.permit(now).unwrap().silent(now);
        (1..SILENT_CALLS).for_each(|_| silent());
        // Any other outcome breaks the row.
        breaker.permit(now).unwrap().failed(now);
        (1..SILENT_CALLS).for_each(|_| silent());
        assert_eq!(breaker.state_at(now), BreakerState::Closed);
        let mut has_ended = ends(breaker.silenced());
        assert!(!has_ended());
        silent();
        assert_eq!(breaker.state_at(now), BreakerState::Open);
        assert!(has_ended(), "what still waits waits in vain");
    }

    /// Whether a future has ended, whenever it is asked.
    fn ends<F: Future>(future: F) -> impl FnMut() -> bool {
        let mut future = Box::pin(future);
        move || future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn an_early_probe_changes_nothing_when_it_fails() {
        let (now, breaker) = (Instant::now(), breaker());
        assert!(breaker.early_permit(now).is_none(), "closed: it may be asked as usual");
        for _ in 0..MIN_CALLS {
            breaker.permit(now).unwrap().failed(now);
        }
        let until = breaker.open_until();
        let probe = breaker.early_permit(now).unwrap();
        assert!(breaker.early_permit(now).is_none() && breaker.permit(now + OPEN_FIRST).is_none(), "one at a time");
        probe.failed(now);
        assert_eq!(breaker.open_until(), until);
        breaker.early_permit(now).unwrap().succeeded();
        assert_eq!(breaker.state_at(now), BreakerState::Closed);
    }

    /// Of the calls that were made before it opened, none is taken for the probe.
    #[test]
    fn a_late_failure_is_no_verdict_on_the_probe() {
        let (now, breaker) = (Instant::now(), breaker());
        let late = breaker.permit(now).unwrap();
        for _ in 0..MIN_CALLS {
            breaker.permit(now).unwrap().failed(now);
        }
        let later = now + OPEN_FIRST;
        let probe = breaker.permit(later).unwrap();
        late.failed(later);
        assert!(breaker.permit(later).is_none(), "the probe is still in flight");
        drop(probe);
        assert!(breaker.permit(later).is_some());
    }

    /// Calls that were made before it opened: neither their pieces and ends close it, nor do their failures open it
    /// again while it is tried.
    #[test]
    fn a_call_from_before_the_opening_tells_nothing() {
        let (now, rest) = (Instant::now(), Duration::from_secs(60));
        for verdict in ["piece", "end", "dropped", "failure", "silence"] {
            let judge = |mut late: Permit<'_>| match verdict {
                "piece" => {
                    late.begun();
                    late.succeeded();
                }
                "end" => late.succeeded(),
                "dropped" => late.begun(),
                "failure" => late.failed(now),
                _ => late.silent(now),
            };
            let breaker = breaker();
            let [first, second] = [(); 2].map(|()| breaker.permit(now).unwrap());
            breaker.rest(now, rest);
            judge(first);
            assert_eq!(breaker.open_until(), Some(now + rest), "{verdict}");
            assert!(breaker.early_permit(now).is_none(), "{verdict}: the provider's own time stands");
            let mut probe = breaker.permit(now + rest).unwrap();
            probe.begun();
            judge(second);
            assert_eq!(breaker.state_at(now + rest), BreakerState::Closed, "{verdict}: the trial goes on");
            probe.failed(now + rest);
            assert_eq!(breaker.open_until(), Some(now + rest + OPEN_FIRST * 2), "{verdict}: and is not over");
        }
    }

    /// The provider names a time while a probe waits: that is its later word.
    #[test]
    fn a_rest_overtakes_a_probe() {
        let (now, rest) = (Instant::now(), Duration::from_secs(60));
        let breaker = breaker();
        breaker.rest(now, rest);
        let later = now + rest;
        let probe = breaker.permit(later).unwrap();
        breaker.rest(later, rest);
        probe.succeeded();
        assert_eq!(breaker.open_until(), Some(later + rest));
        assert!(breaker.permit(later + rest).is_some());
    }

    #[test]
    fn a_provider_that_begins_and_does_not_end_is_not_back() {
        let (now, breaker) = (Instant::now(), breaker());
        for _ in 0..MIN_CALLS {
            breaker.permit(now).unwrap().failed(now);
        }
        let later = now + OPEN_FIRST;
        let mut probe = breaker.permit(later).unwrap();
        probe.begun();
        assert_eq!(breaker.state_at(later), BreakerState::Closed, "others do not wait for the end");
        probe.failed(later);
        assert_eq!(breaker.open_until(), Some(later + OPEN_FIRST * 2));
        let last = later + OPEN_FIRST * 2;
        let mut probe = breaker.permit(last).unwrap();
        probe.begun();
        probe.succeeded();
        breaker.permit(last).unwrap().failed(last);
        assert_eq!(breaker.state_at(last), BreakerState::Closed);
    }

    /// Asked for; left alone then; whether one call finds out first.
    #[test]
    fn rests() {
        for (asked, until, opens) in [
            (Duration::ZERO, Duration::ZERO, false),
            (Duration::from_secs(2), Duration::from_secs(2), false),
            (LONGEST_PAUSE, LONGEST_PAUSE, false),
            // Longer than any call pauses: none would wait for it, and none would say so.
            (LONGEST_PAUSE + Duration::from_millis(1), LONGEST_PAUSE + Duration::from_millis(1), true),
            (LONG_REST, LONG_REST, true),
            (Duration::from_secs(35_000), REST_MAX, true),
            (Duration::MAX, REST_MAX, true),
        ] {
            let (now, breaker) = (Instant::now(), breaker());
            breaker.rest(now, asked);
            // The longest counts, whichever was named last.
            breaker.rest(now, Duration::ZERO);
            let before = (now + until).checked_sub(Duration::from_millis(1)).filter(|before| now <= *before);
            if let Some(now) = before {
                let probed = breaker.early_permit(now).is_some() || breaker.usual_permit(now).is_some();
                assert!(breaker.permit(now).is_none() && !probed, "{asked:?}");
            }
            let (first, second) = (breaker.permit(now + until), breaker.permit(now + until));
            assert_eq!((first.is_some(), second.is_none()), (true, opens), "{asked:?}");
        }
    }
}
