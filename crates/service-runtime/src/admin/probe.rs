//! Readiness probes.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// State of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeState {
    /// Fully functional.
    Ok,
    /// The service continues with reduced function, for this reason.
    Degraded(String),
    /// The service cannot serve, for this reason.
    Down(String),
}

/// Result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    /// Name of the component.
    pub name: &'static str,
    /// State of the component.
    pub state: ProbeState,
    /// Additional information for operators.
    pub detail: Option<String>,
}

/// Readiness probe of one component.
///
/// ```
/// use async_trait::async_trait;
/// use service_runtime::admin::{Probe, ProbeState};
///
/// struct Disk {
///     free_bytes: u64,
/// }
///
/// #[async_trait]
/// impl Probe for Disk {
///     fn name(&self) -> &'static str {
///         "disk"
///     }
///
///     async fn state(&self) -> ProbeState {
///         match self.free_bytes {
///             0 => ProbeState::Down("the disk is full".to_owned()),
///             1..1_000_000 => ProbeState::Degraded("less than 1 MB is free".to_owned()),
///             _ => ProbeState::Ok,
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait Probe: Send + Sync {
    /// Returns the name of the component.
    fn name(&self) -> &'static str;

    /// Determines the state. May be slow, and is called often: see [`CachedProbe`].
    async fn state(&self) -> ProbeState;

    /// Returns additional information, independent of the state: a name or a number of interest to operators.
    fn detail(&self) -> Option<String> {
        None
    }
}

/// Caches a probe's result and bounds it with a timeout, so that readiness requests cannot load the probed component.
#[derive(Debug)]
pub struct CachedProbe<P> {
    probe: P,
    lasts: Duration,
    limit: Duration,
    last: Mutex<Option<(Instant, ProbeState)>>,
}

impl<P> CachedProbe<P> {
    /// Caches the result of `probe` for `lasts`. The component counts as down if the probe takes longer than `limit`.
    pub fn new(probe: P, lasts: Duration, limit: Duration) -> Self {
        Self { probe, lasts, limit, last: Mutex::new(None) }
    }
}

#[async_trait]
impl<P: Probe> Probe for CachedProbe<P> {
    fn name(&self) -> &'static str {
        self.probe.name()
    }

    fn detail(&self) -> Option<String> {
        self.probe.detail()
    }

    async fn state(&self) -> ProbeState {
        // An async lock, held during the probe: concurrent requests wait for one result instead of starting more probes.
        let mut last = self.last.lock().await;
        if let Some((at, state)) = &*last
            && at.elapsed() < self.lasts
        {
            return state.clone();
        }
        let state = timeout(self.limit, self.probe.state()).await;
        let state =
            state.unwrap_or_else(|_| ProbeState::Down(format!("no answer within {} s", self.limit.as_secs_f64())));
        *last = Some((Instant::now(), state.clone()));
        state
    }
}

/// Reports down during shutdown.
#[derive(Debug)]
pub struct DrainingProbe(pub CancellationToken);

#[async_trait]
impl Probe for DrainingProbe {
    fn name(&self) -> &'static str {
        "draining"
    }

    async fn state(&self) -> ProbeState {
        if self.0.is_cancelled() { ProbeState::Down("the service is going away".to_owned()) } else { ProbeState::Ok }
    }
}

impl ProbeResult {
    pub(super) fn to_json(&self) -> Value {
        let mut check = match &self.state {
            ProbeState::Ok => json!({"name": self.name, "state": "ok"}),
            ProbeState::Degraded(reason) => json!({"name": self.name, "state": "degraded", "reason": reason}),
            ProbeState::Down(reason) => json!({"name": self.name, "state": "down", "reason": reason}),
        };
        if let Some(detail) = &self.detail {
            check["detail"] = detail.as_str().into();
        }
        check
    }
}

pub(super) async fn check(probe: &dyn Probe) -> ProbeResult {
    let state = probe.state().await;
    // After the state, which may set the detail.
    ProbeResult { name: probe.name(), state, detail: probe.detail() }
}

/// Returns the worst state.
pub(super) fn worst(checks: &[ProbeResult]) -> &ProbeState {
    let rank = |state: &ProbeState| match state {
        ProbeState::Ok => 0,
        ProbeState::Degraded(_) => 1,
        ProbeState::Down(_) => 2,
    };
    checks.iter().map(|check| &check.state).max_by_key(|state| rank(state)).unwrap_or(&ProbeState::Ok)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Slow probe that counts its calls.
    struct Slow(Duration, AtomicUsize);

    #[async_trait]
    impl Probe for Slow {
        fn name(&self) -> &'static str {
            "slow"
        }

        async fn state(&self) -> ProbeState {
            self.1.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(self.0).await;
            ProbeState::Ok
        }
    }

    #[tokio::test(start_paused = true)]
    async fn caches_results_and_times_out() {
        let second = Duration::from_secs(1);
        for (takes_ms, want, calls) in
            [(10, ProbeState::Ok, 2), (60_000, ProbeState::Down("no answer within 1 s".to_owned()), 2)]
        {
            let probe = CachedProbe::new(Slow(Duration::from_millis(takes_ms), AtomicUsize::new(0)), second, second);
            for _ in 0..100 {
                assert_eq!(probe.state().await, want, "{takes_ms} ms");
            }
            tokio::time::advance(second).await;
            assert_eq!(probe.state().await, want, "{takes_ms} ms");
            assert_eq!(probe.probe.1.load(Ordering::Relaxed), calls, "{takes_ms} ms");
        }
    }

    #[test]
    fn worst_state_wins() {
        let (less, gone) = (ProbeState::Degraded("a".to_owned()), ProbeState::Down("b".to_owned()));
        for (states, want) in [
            (vec![], ProbeState::Ok),
            (vec![ProbeState::Ok, less.clone()], less.clone()),
            (vec![less.clone(), gone.clone(), ProbeState::Ok], gone),
        ] {
            let checks: Vec<_> =
                states.into_iter().map(|state| ProbeResult { name: "part", state, detail: None }).collect();
            assert_eq!(*worst(&checks), want);
        }
    }

    #[test]
    fn json() {
        for (state, detail, want) in [
            (ProbeState::Ok, None, json!({"name": "part", "state": "ok"})),
            (ProbeState::Ok, Some("m"), json!({"name": "part", "state": "ok", "detail": "m"})),
            (
                ProbeState::Degraded("a".to_owned()),
                Some("m"),
                json!({"name": "part", "state": "degraded", "reason": "a", "detail": "m"}),
            ),
            (ProbeState::Down("b".to_owned()), None, json!({"name": "part", "state": "down", "reason": "b"})),
        ] {
            assert_eq!(ProbeResult { name: "part", state, detail: detail.map(str::to_owned) }.to_json(), want);
        }
    }
}
