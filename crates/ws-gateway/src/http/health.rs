//! Whether the gateway lives, and whether it can do its work.

use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::response::{Answer, plain};
use crate::upstream::{self, CoreAddress};

/// How long the core has to answer, and how long its answer counts.
const PROBE: Duration = Duration::from_secs(1);

/// Knows whether the core can be reached. Asks it at most once a second, however often it is
/// asked itself, so that `/readyz` cannot be used to flood the core.
#[derive(Debug)]
pub(crate) struct Readiness {
    core: CoreAddress,
    draining: CancellationToken,
    /// When the core was last asked, and whether it was there.
    last: Mutex<Option<(Instant, bool)>>,
}

impl Readiness {
    pub(crate) fn new(core: CoreAddress, draining: CancellationToken) -> Self {
        Self { core, draining, last: Mutex::new(None) }
    }

    pub(super) async fn answer(&self) -> Answer {
        if self.draining.is_cancelled() {
            plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else if self.core_is_there().await {
            plain(StatusCode::OK, "ready\n")
        } else {
            plain(StatusCode::SERVICE_UNAVAILABLE, "the core does not answer\n")
        }
    }

    async fn core_is_there(&self) -> bool {
        let mut last = self.last.lock().await;
        match *last {
            Some((at, there)) if at.elapsed() < PROBE => there,
            _ => {
                let there = upstream::connect(&self.core, PROBE).await.is_ok();
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
