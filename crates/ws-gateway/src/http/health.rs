//! Liveness and readiness.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::StatusCode;
use service_runtime::admin::{CachedProbe, Probe, ProbeState};
use tokio_util::sync::CancellationToken;

use super::response::{HttpResponse, plain};
use crate::upstream::{CoreStatus, Upstream};

/// Connect timeout of the readiness probe, and lifetime of its result. One second: balancers check once a second
/// (`deploy/balancer`).
const PROBE: Duration = Duration::from_secs(1);
/// Timeout of the whole probe. Longer than [`PROBE`], so that a core that does not answer is recorded as failed first.
const LIMIT: Duration = Duration::from_secs(2);

/// Probe of the cores: up if any can be reached.
#[derive(Debug)]
pub(crate) struct CoresProbe(Arc<Upstream>);

#[async_trait]
impl Probe for CoresProbe {
    fn name(&self) -> &'static str {
        "cores"
    }

    async fn state(&self) -> ProbeState {
        if let Err(error) = self.0.check_reachable(PROBE).await {
            return ProbeState::Down(format!("no core answers: {error}"));
        }
        let usage = self.0.usage();
        let away = |core: &&CoreStatus| core.listed && core.ejected && !core.absent;
        let ejected: Vec<_> = usage.iter().filter(away).map(address).collect();
        if ejected.is_empty() {
            ProbeState::Ok
        } else {
            ProbeState::Degraded(format!("ejected: {}", ejected.join(", ")))
        }
    }
}

fn address(core: &CoreStatus) -> String {
    core.address.to_string()
}

/// Readiness of the gateway. The result is cached for [`PROBE`], so that `/readyz` cannot be used to flood the cores.
#[derive(Debug)]
pub(crate) struct Readiness {
    cores: Arc<CachedProbe<CoresProbe>>,
    draining: CancellationToken,
}

impl Readiness {
    pub(crate) fn new(upstream: Arc<Upstream>, draining: CancellationToken) -> Self {
        Self { cores: Arc::new(CachedProbe::new(CoresProbe(upstream), PROBE, LIMIT)), draining }
    }

    /// Returns the probe for the admin port, which shows details.
    pub(crate) fn cores(&self) -> Arc<dyn Probe> {
        Arc::<CachedProbe<CoresProbe>>::clone(&self.cores)
    }

    pub(super) async fn answer(&self) -> HttpResponse {
        if self.draining.is_cancelled() {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
        }
        match self.cores.state().await {
            ProbeState::Ok | ProbeState::Degraded(_) => plain(StatusCode::OK, "ready\n"),
            ProbeState::Down(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "no core answers\n"),
        }
    }
}

/// Liveness: the process answers.
pub(super) fn alive() -> HttpResponse {
    plain(StatusCode::OK, "ok\n")
}
