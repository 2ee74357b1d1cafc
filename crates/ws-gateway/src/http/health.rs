//! Whether the gateway lives, and whether it can do its work.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::response::{Answer, plain};
use crate::upstream::Upstream;

/// How long the cores have to answer, and how long its answer counts.
const PROBE: Duration = Duration::from_secs(1);

/// Knows whether any core can be reached. Asks at most once a second, however often it is
/// asked itself, so that `/readyz` cannot be used to flood the cores.
#[derive(Debug)]
pub(crate) struct Readiness {
    upstream: Arc<Upstream>,
    draining: CancellationToken,
    /// When a core was last asked for, and whether there was one.
    last: Mutex<Option<(Instant, bool)>>,
}

impl Readiness {
    pub(crate) fn new(upstream: Arc<Upstream>, draining: CancellationToken) -> Self {
        Self { upstream, draining, last: Mutex::new(None) }
    }

    pub(super) async fn answer(&self) -> Answer {
        if self.draining.is_cancelled() {
            plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else if self.a_core_is_there().await {
            plain(StatusCode::OK, "ready\n")
        } else {
            plain(StatusCode::SERVICE_UNAVAILABLE, "no core answers\n")
        }
    }

    async fn a_core_is_there(&self) -> bool {
        let mut last = self.last.lock().await;
        match *last {
            Some((at, there)) if at.elapsed() < PROBE => there,
            _ => {
                let there = self.upstream.connect(PROBE).await.is_ok();
                *last = Some((Instant::now(), there));
                there
            }
        }
    }
}

/// The process answers: it lives.
pub(super) fn alive() -> Answer {
    plain(StatusCode::OK, "ok\n")
}
