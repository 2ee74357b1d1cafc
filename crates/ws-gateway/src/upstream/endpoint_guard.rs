//! One connection, as far as the choice of cores is concerned.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Upstream;
use super::core_selector::{Pick, Role};

/// Counts a connection as open at its core; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct EndpointGuard {
    upstream: Arc<Upstream>,
    address: SocketAddr,
    role: Role,
}

impl EndpointGuard {
    /// A connection that is lost within this time shows that its core does not work: a core that crashes at every
    /// start accepts connections too, and may even greet.
    pub(crate) const PROBATION: Duration = Duration::from_secs(1);

    /// Counts the connection of `pick`.
    pub(super) fn new(upstream: Arc<Upstream>, pick: Pick) -> Self {
        Self { upstream, address: pick.address, role: pick.role }
    }

    /// Whether its core was ejected when it was picked.
    pub(crate) fn is_on_probation(&self) -> bool {
        self.role != Role::Regular
    }

    /// Address of its core.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The core works: it has sent something. Only a connection that was made after the core was ejected brings it
    /// back; what comes over an older one may have been sent before.
    pub(crate) fn mark_healthy(&mut self) {
        let back = self.upstream.selector().mark_healthy(self.address, self.role);
        if back {
            tracing::info!(core.address = %self.address, "core restored");
        }
        self.role = Role::Regular;
    }

    /// The core owes an answer for too long, and may not work. Asks for a check by the gateway itself, which alone
    /// decides: how long an answer takes may depend on the person or on a database.
    pub(crate) fn suspect(&mut self) {
        if self.upstream.selector().suspect(self.address, self.role, Instant::now()) {
            self.upstream.probe_wakeup.notify_one();
        }
        if self.role == Role::Probe {
            self.role = Role::Extra;
        }
    }

    /// The core does not work, because of `error`.
    pub(crate) fn mark_failed(&mut self, error: &dyn fmt::Display) {
        let role = std::mem::replace(&mut self.role, Role::Extra);
        let ejection = self.upstream.selector().mark_failed(self.address, role, Instant::now());
        let Some(ejection) = ejection else { return };
        self.upstream.probe_wakeup.notify_one();
        let (failures, retry_ms) = (ejection.failures, ejection.retry_in.as_millis());
        // Of a core that stays away one line is enough.
        if failures == 1 {
            tracing::warn!(core.address = %self.address, %error, retry_ms, "core ejected");
        } else {
            tracing::debug!(core.address = %self.address, %error, failures, retry_ms, "core still ejected");
        }
    }

    /// Whether its core is ejected and another one is healthy.
    pub(crate) fn has_better_core(&self) -> bool {
        self.upstream.selector().has_better_than(self.address)
    }
}

impl Drop for EndpointGuard {
    fn drop(&mut self) {
        self.upstream.selector().release(self.address, self.role, Instant::now());
        if self.role == Role::Probe {
            // Undecided: the next one is due at once.
            self.upstream.probe_wakeup.notify_one();
        }
    }
}
