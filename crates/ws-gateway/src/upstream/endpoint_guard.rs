//! Guard of one connection to a core.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Upstream;
use super::core_selector::{Pick, Role};

/// Counts a connection as open at its core; releases it on drop.
#[derive(Debug)]
pub(crate) struct EndpointGuard {
    upstream: Arc<Upstream>,
    address: SocketAddr,
    role: Role,
}

impl EndpointGuard {
    /// A connection lost within this time is evidence against its core: one that crashes at every start accepts
    /// connections too, and may even greet.
    pub(crate) const PROBATION: Duration = Duration::from_secs(1);

    /// Counts the connection of `pick`.
    pub(super) fn new(upstream: Arc<Upstream>, pick: Pick) -> Self {
        Self { upstream, address: pick.address, role: pick.role }
    }

    /// Returns true if the core was ejected when it was selected.
    pub(crate) fn is_on_probation(&self) -> bool {
        self.role != Role::Regular
    }

    /// Returns the address of the core.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Records that the core has sent something. Only a connection made after the ejection restores the core; bytes on
    /// an older one may have been sent before it.
    pub(crate) fn mark_healthy(&mut self) {
        let back = self.upstream.selector().mark_healthy(self.address, self.role);
        if back {
            tracing::info!(core.address = %self.address, "core restored");
        }
        self.role = Role::Regular;
    }

    /// Records that the core's reply is late and requests a health check, which alone decides: a reply may depend on
    /// the client or on a database.
    pub(crate) fn suspect(&mut self) {
        if self.upstream.selector().suspect(self.address, self.role, Instant::now()) {
            self.upstream.probe_wakeup.notify_one();
        }
        if self.role == Role::Probe {
            self.role = Role::Extra;
        }
    }

    /// Records a failure of the core.
    pub(crate) fn mark_failed(&mut self, error: &dyn fmt::Display) {
        let role = std::mem::replace(&mut self.role, Role::Extra);
        let ejection = self.upstream.selector().mark_failed(self.address, role, Instant::now());
        let Some(ejection) = ejection else { return };
        self.upstream.probe_wakeup.notify_one();
        let (failures, retry_ms) = (ejection.failures, ejection.retry_in.as_millis());
        // One warning per outage.
        if failures == 1 {
            tracing::warn!(core.address = %self.address, %error, retry_ms, "core ejected");
        } else {
            tracing::debug!(core.address = %self.address, %error, failures, retry_ms, "core still ejected");
        }
    }

    /// Returns true if the core is ejected and another one is healthy.
    pub(crate) fn has_better_core(&self) -> bool {
        self.upstream.selector().has_better_than(self.address)
    }
}

impl Drop for EndpointGuard {
    fn drop(&mut self) {
        self.upstream.selector().release(self.address, self.role, Instant::now());
        if self.role == Role::Probe {
            // Undecided: the next probe is due at once.
            self.upstream.probe_wakeup.notify_one();
        }
    }
}
