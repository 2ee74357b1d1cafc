//! Whether the gateway lives, and whether it can do its work.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use boot::admin::{CachedProbe, Probe, ProbeState};
use hyper::StatusCode;
use tokio_util::sync::CancellationToken;

use super::response::{HttpResponse, plain};
use crate::upstream::{CoreStatus, Upstream};

/// How long the cores have to answer, and how long their answer counts.
const PROBE: Duration = Duration::from_secs(1);
/// How long is waited for it at most: longer, so that a core that has not answered is noted as such.
const LIMIT: Duration = Duration::from_secs(2);

/// Whether any core can be reached.
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

/// Knows whether any core can be reached. Asks at most once a second, however often it is
/// asked itself, so that `/readyz` cannot be used to flood the cores.
#[derive(Debug)]
pub(crate) struct Readiness {
    cores: Arc<CachedProbe<CoresProbe>>,
    draining: CancellationToken,
}

impl Readiness {
    pub(crate) fn new(upstream: Arc<Upstream>, draining: CancellationToken) -> Self {
        Self { cores: Arc::new(CachedProbe::new(CoresProbe(upstream), PROBE, LIMIT)), draining }
    }

    /// The same for whoever runs the gateway, in detail.
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

/// The process answers: it lives.
pub(super) fn alive() -> HttpResponse {
    plain(StatusCode::OK, "ok\n")
}
