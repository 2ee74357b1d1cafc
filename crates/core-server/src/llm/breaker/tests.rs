//! The breaker against tables, and against a plain model.

use proptest::prelude::*;

use super::*;

const MAX_PAUSE: Duration = Duration::from_secs(5);

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
    Breaker::new("test".to_owned(), Arc::default(), MAX_PAUSE, Arc::default())
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
    // Any other outcome breaks the row.
    breaker.permit(now).unwrap().failed(now);
    (1..MAX_CONSECUTIVE_TIMEOUTS).for_each(|_| timeouts());
    assert_eq!(breaker.state_at(now), BreakerState::Closed);
    let mut has_ended = ends(breaker.opened_by_timeouts());
    assert!(!has_ended());
    timeouts();
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

/// Of the calls that were made before it opened, none is taken for the probe.
#[test]
fn a_late_failure_is_no_verdict_on_the_probe() {
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

/// Calls that were made before it opened: neither their pieces and ends close it, nor do their failures open it
/// again while it is tried.
#[test]
fn a_call_from_before_the_opening_tells_nothing() {
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

/// The provider names a time while a probe waits: that is its later word.
#[test]
fn a_rest_overtakes_a_probe() {
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
fn a_provider_that_begins_and_does_not_end_is_not_back() {
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

/// Asked for; left alone then; whether one call finds out first.
#[test]
fn rests() {
    for (asked, until, opens) in [
        (Duration::ZERO, Duration::ZERO, false),
        (Duration::from_secs(2), Duration::from_secs(2), false),
        (MAX_PAUSE, MAX_PAUSE, false),
        // Longer than any call pauses: none would wait for it, and none would say so.
        (MAX_PAUSE + Duration::from_millis(1), MAX_PAUSE + Duration::from_millis(1), true),
        (LONG_RETRY_AFTER, LONG_RETRY_AFTER, true),
        (Duration::from_secs(35_000), MAX_RETRY_AFTER, true),
        (Duration::MAX, MAX_RETRY_AFTER, true),
    ] {
        let (now, breaker) = (Instant::now(), breaker());
        breaker.honor_retry_after(now, asked);
        // The longest counts, whichever was named last.
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
