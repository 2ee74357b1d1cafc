//! One connection, as far as the choice of cores is concerned.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Upstream;
use super::cores::{Pick, Role};

/// Counts a connection as open at its core; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    upstream: Arc<Upstream>,
    address: SocketAddr,
    role: Role,
}

impl Lease {
    /// A connection that lives this long shows that its core works, and one that is lost earlier that it
    /// does not: a core that crashes at every start accepts connections too.
    pub(crate) const PROBATION: Duration = Duration::from_secs(1);

    pub(super) fn new(upstream: Arc<Upstream>, pick: Pick) -> Self {
        Self { upstream, address: pick.address, role: pick.role }
    }

    /// Whether the core waits for this connection to prove that it works.
    pub(crate) fn is_on_probation(&self) -> bool {
        self.role == Role::Probe
    }

    /// The core works.
    pub(crate) fn proved(&mut self) {
        let back = self.upstream.cores().proved(self.address, self.role);
        if back {
            tracing::info!(core.address = %self.address, "core is back");
        }
        self.role = Role::Regular;
    }

    /// The core does not work, because of `error`.
    pub(crate) fn failed(self, error: &dyn fmt::Display) {
        let ejection = self.upstream.cores().failed(self.address, self.role, Instant::now());
        let Some(ejection) = ejection else { return };
        let (failures, retry_ms) = (ejection.failures, ejection.retry_in.as_millis());
        // Of a core that stays away one line is enough.
        if failures == 1 {
            tracing::warn!(core.address = %self.address, %error, retry_ms, "core ejected");
        } else {
            tracing::debug!(core.address = %self.address, %error, failures, retry_ms, "core still ejected");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.upstream.cores().release(self.address, self.role, Instant::now());
    }
}
