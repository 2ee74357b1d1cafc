//! The breaker by example, and against a model.

use proptest::prelude::*;

use super::*;

const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Model: keeps every outcome and recomputes the rate from the last 20.
#[derive(Default)]
struct ModelBreaker {
    outcomes: Vec<bool>,
    open: Option<(u64, u64)>,
}

impl ModelBreaker {
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
    Breaker::new("test".to_owned(), Arc::default(), MAX_PAUSE, Arc::default())
}

proptest! {
    #[test]
    fn breaker_matches_model(steps in proptest::collection::vec((0u64..8, any::<bool>()), 1..120)) {
        let (start, breaker) = (Instant::now(), breaker());
        let (mut model, mut now) = (ModelBreaker::default(), 0);
        for (seconds, fails) in steps {
            now += seconds;
            let at = start + Duration::from_secs(now);
            let permit = breaker.permit(at);
            prop_assert_eq!(permit.is_some(), model.passes(now), "at {} s", now);
            let Some(permit) = permit else { continue };
            if fails { permit.failed(at) } else { permit.succeeded() }
            model.call(now, fails);
        }
    }
}

#[test]
fn allows_one_probe_and_ignores_a_cancelled_one() {
    let (now, breaker) = (Instant::now(), breaker());
    for _ in 0..MIN_OUTCOMES {
        breaker.permit(now).unwrap().failed(now);
    }
    assert!(breaker.permit(now).is_none());
    assert_eq!(breaker.open_until(), Some(now + OPEN_INITIAL));
    let later = now + OPEN_INITIAL;
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
    let timeouts = || breaker.permit(now).unwrap().timed_out(now);
    (1..MAX_CONSECUTIVE_TIMEOUTS).for_each(|_| timeouts());
    // Any other outcome resets the count.
    breaker.permit(now).unwrap().failed(now);
    (1..MAX_CONSECUTIVE_TIMEOUTS).for_each(|_| timeouts());
    assert_eq!(breaker.state_at(now), BreakerState::Closed);
    let mut has_ended = ends(breaker.opened_by_timeouts());
    assert!(!has_ended());
    timeouts();
    assert_eq!(breaker.state_at(now), BreakerState::Open);
    assert!(has_ended(), "what still waits waits in vain");
}

/// Polls a future once per call; true when it is ready.
fn ends<F: Future>(future: F) -> impl FnMut() -> bool {
    let mut future = Box::pin(future);
    move || future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
}

#[test]
fn failed_early_probe_keeps_the_open_time() {
    let (now, breaker) = (Instant::now(), breaker());
    assert!(breaker.early_probe(now).is_none(), "closed: it may be asked as usual");
    for _ in 0..MIN_OUTCOMES {
        breaker.permit(now).unwrap().failed(now);
    }
    let until = breaker.open_until();
    let probe = breaker.early_probe(now).unwrap();
    assert!(breaker.early_probe(now).is_none() && breaker.permit(now + OPEN_INITIAL).is_none(), "one at a time");
    probe.failed(now);
    assert_eq!(breaker.open_until(), until);
    breaker.early_probe(now).unwrap().succeeded();
    assert_eq!(breaker.state_at(now), BreakerState::Closed);
}

/// A call from before the opening is not taken for the probe.
#[test]
fn stale_failure_does_not_end_the_probe() {
    let (now, breaker) = (Instant::now(), breaker());
    let late = breaker.permit(now).unwrap();
    for _ in 0..MIN_OUTCOMES {
        breaker.permit(now).unwrap().failed(now);
    }
    let later = now + OPEN_INITIAL;
    let probe = breaker.permit(later).unwrap();
    late.failed(later);
    assert!(breaker.permit(later).is_none(), "the probe is still in flight");
    drop(probe);
    assert!(breaker.permit(later).is_some());
}

/// A call from before the opening neither closes the breaker by its tokens and end, nor reopens it during probation.
#[test]
fn ignores_outcomes_from_before_the_opening() {
    let (now, rest) = (Instant::now(), Duration::from_secs(60));
    for verdict in ["piece", "end", "dropped", "failure", "timed_out"] {
        let judge = |mut late: CallPermit<'_>| match verdict {
            "piece" => {
                late.first_token();
                late.succeeded();
            }
            "end" => late.succeeded(),
            "dropped" => late.first_token(),
            "failure" => late.failed(now),
            _ => late.timed_out(now),
        };
        let breaker = breaker();
        let [first, second] = [(); 2].map(|()| breaker.permit(now).unwrap());
        breaker.honor_retry_after(now, rest);
        judge(first);
        assert_eq!(breaker.open_until(), Some(now + rest), "{verdict}");
        assert!(breaker.early_probe(now).is_none(), "{verdict}: the provider's own time stands");
        let mut probe = breaker.permit(now + rest).unwrap();
        probe.first_token();
        judge(second);
        assert_eq!(breaker.state_at(now + rest), BreakerState::Closed, "{verdict}: the probation goes on");
        probe.failed(now + rest);
        assert_eq!(breaker.open_until(), Some(now + rest + OPEN_INITIAL * 2), "{verdict}: and is not over");
    }
}

/// A `Retry-After` during a probe is the provider's latest statement.
#[test]
fn retry_after_overrides_a_running_probe() {
    let (now, rest) = (Instant::now(), Duration::from_secs(60));
    let breaker = breaker();
    breaker.honor_retry_after(now, rest);
    let later = now + rest;
    let probe = breaker.permit(later).unwrap();
    breaker.honor_retry_after(later, rest);
    probe.succeeded();
    assert_eq!(breaker.open_until(), Some(later + rest));
    assert!(breaker.permit(later + rest).is_some());
}

#[test]
fn reopens_when_the_probes_answer_breaks_off() {
    let (now, breaker) = (Instant::now(), breaker());
    for _ in 0..MIN_OUTCOMES {
        breaker.permit(now).unwrap().failed(now);
    }
    let later = now + OPEN_INITIAL;
    let mut probe = breaker.permit(later).unwrap();
    probe.first_token();
    assert_eq!(breaker.state_at(later), BreakerState::Closed, "others do not wait for the end");
    probe.failed(later);
    assert_eq!(breaker.open_until(), Some(later + OPEN_INITIAL * 2));
    let last = later + OPEN_INITIAL * 2;
    let mut probe = breaker.permit(last).unwrap();
    probe.first_token();
    probe.succeeded();
    breaker.permit(last).unwrap().failed(last);
    assert_eq!(breaker.state_at(last), BreakerState::Closed);
}

/// Columns: `Retry-After`; blocked for; whether one probe comes first.
#[test]
fn honors_retry_after() {
    for (asked, until, opens) in [
        (Duration::ZERO, Duration::ZERO, false),
        (Duration::from_secs(2), Duration::from_secs(2), false),
        (MAX_PAUSE, MAX_PAUSE, false),
        // Longer than any backoff: no call would wait for it, so that the breaker has to show it.
        (MAX_PAUSE + Duration::from_millis(1), MAX_PAUSE + Duration::from_millis(1), true),
        (LONG_RETRY_AFTER, LONG_RETRY_AFTER, true),
        (Duration::from_secs(35_000), MAX_RETRY_AFTER, true),
        (Duration::MAX, MAX_RETRY_AFTER, true),
    ] {
        let (now, breaker) = (Instant::now(), breaker());
        breaker.honor_retry_after(now, asked);
        // The longest counts, not the latest.
        breaker.honor_retry_after(now, Duration::ZERO);
        let before = (now + until).checked_sub(Duration::from_millis(1)).filter(|before| now <= *before);
        if let Some(now) = before {
            let probed = breaker.early_probe(now).is_some() || breaker.closed_permit(now).is_some();
            assert!(breaker.permit(now).is_none() && !probed, "{asked:?}");
        }
        let (first, second) = (breaker.permit(now + until), breaker.permit(now + until));
        assert_eq!((first.is_some(), second.is_none()), (true, opens), "{asked:?}");
    }
}
