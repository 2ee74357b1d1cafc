//! Whether the parts of a service do their work.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It works.
    Ok,
    /// The service goes on with less, because of this.
    Degraded(String),
    /// The service cannot serve, because of this.
    Down(String),
}

/// What is known of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which part.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// More about it, whatever its state.
    pub detail: Option<String>,
}

/// A part that can say how it is.
#[async_trait]
pub trait Probe: Send + Sync {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// How it is. May take long, and be asked often: see [`Cached`].
    async fn state(&self) -> State;

    /// More about it, whatever its state: a name or a number that an operator wants to see.
    fn detail(&self) -> Option<String> {
        None
    }
}

/// A probe that is asked now and then, however many want to know, and not waited for too long: so that
/// nobody can load what it asks.
#[derive(Debug)]
pub struct Cached<P> {
    probe: P,
    lasts: Duration,
    limit: Duration,
    last: Mutex<Option<(Instant, State)>>,
}

impl<P> Cached<P> {
    /// What `probe` answers counts for as long as `lasts`. It is down if it takes longer than `limit`.
    pub fn new(probe: P, lasts: Duration, limit: Duration) -> Self {
        Self { probe, lasts, limit, last: Mutex::new(None) }
    }
}

#[async_trait]
impl<P: Probe> Probe for Cached<P> {
    fn name(&self) -> &'static str {
        self.probe.name()
    }

    fn detail(&self) -> Option<String> {
        self.probe.detail()
    }

    async fn state(&self) -> State {
        let mut last = self.last.lock().await;
        if let Some((at, state)) = &*last
            && at.elapsed() < self.lasts
        {
            return state.clone();
        }
        let state = timeout(self.limit, self.probe.state()).await;
        let state = state.unwrap_or_else(|_| State::Down(format!("no answer within {} s", self.limit.as_secs_f64())));
        *last = Some((Instant::now(), state.clone()));
        state
    }
}

/// Down once the service is going away.
#[derive(Debug)]
pub struct Draining(pub CancellationToken);

#[async_trait]
impl Probe for Draining {
    fn name(&self) -> &'static str {
        "draining"
    }

    async fn state(&self) -> State {
        if self.0.is_cancelled() { State::Down("the service is going away".to_owned()) } else { State::Ok }
    }
}

impl Check {
    pub(super) fn to_json(&self) -> Value {
        let mut check = match &self.state {
            State::Ok => json!({"name": self.name, "state": "ok"}),
            State::Degraded(reason) => json!({"name": self.name, "state": "degraded", "reason": reason}),
            State::Down(reason) => json!({"name": self.name, "state": "down", "reason": reason}),
        };
        if let Some(detail) = &self.detail {
            check["detail"] = detail.as_str().into();
        }
        check
    }
}

pub(super) async fn check(probe: &dyn Probe) -> Check {
    let state = probe.state().await;
    // After the state: a detail that goes with it is there by then.
    Check { name: probe.name(), state, detail: probe.detail() }
}

/// The state of the part that is worst off.
pub(super) fn worst(checks: &[Check]) -> &State {
    let rank = |state: &State| match state {
        State::Ok => 0,
        State::Degraded(_) => 1,
        State::Down(_) => 2,
    };
    checks.iter().map(|check| &check.state).max_by_key(|state| rank(state)).unwrap_or(&State::Ok)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers after a while, and counts how often it was asked.
    struct Slow(Duration, AtomicUsize);

    #[async_trait]
    impl Probe for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }

        async fn state(&self) -> State {
            self.1.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(self.0).await;
            State::Ok
        }
    }

    #[tokio::test(start_paused = true)]
    async fn asked_once_in_a_while_and_not_waited_for() {
        let second = Duration::from_secs(1);
        for (takes_ms, want, asked) in [(10, State::Ok, 2), (60_000, State::Down("no answer within 1 s".to_owned()), 2)]
        {
            let probe = Cached::new(Slow(Duration::from_millis(takes_ms), AtomicUsize::new(0)), second, second);
            for _ in 0..100 {
                assert_eq!(probe.state().await, want, "{takes_ms} ms");
            }
            tokio::time::advance(second).await;
            assert_eq!(probe.state().await, want, "{takes_ms} ms");
            assert_eq!(probe.probe.1.load(Ordering::Relaxed), asked, "{takes_ms} ms");
        }
    }

    #[test]
    fn the_worst_counts() {
        let (less, gone) = (State::Degraded("a".to_owned()), State::Down("b".to_owned()));
        for (states, want) in [
            (vec![], State::Ok),
            (vec![State::Ok, less.clone()], less.clone()),
            (vec![less.clone(), gone.clone(), State::Ok], gone),
        ] {
            let checks: Vec<_> = states.into_iter().map(|state| Check { name: "part", state, detail: None }).collect();
            assert_eq!(*worst(&checks), want);
        }
    }

    #[test]
    fn json() {
        for (state, detail, want) in [
            (State::Ok, None, json!({"name": "part", "state": "ok"})),
            (State::Ok, Some("m"), json!({"name": "part", "state": "ok", "detail": "m"})),
            (
                State::Degraded("a".to_owned()),
                Some("m"),
                json!({"name": "part", "state": "degraded", "reason": "a", "detail": "m"}),
            ),
            (State::Down("b".to_owned()), None, json!({"name": "part", "state": "down", "reason": "b"})),
        ] {
            assert_eq!(Check { name: "part", state, detail: detail.map(str::to_owned) }.to_json(), want);
        }
    }
}
