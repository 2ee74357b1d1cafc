//! Metrics of the gateway.
//!
//! Counted per connection, never per message: an atomic counter shared by all threads would cost more than forwarding
//! the message.

mod names;

use protocol::CloseReason;
use service_runtime::metrics::{
    Histogram, IO_SECONDS_BUCKETS, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, to_gauge,
};

pub use names::Metric;

use crate::close::CloseCause;
use crate::upstream::CoreStatus;

/// Reason for rejecting an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpgradeRejection {
    /// The page's origin is not allowed.
    Origin,
    /// No valid WebSocket request, or an unsupported version.
    Malformed,
    /// Too many new connections from this address.
    RateLimited,
    /// The gateway is shutting down.
    Draining,
}

impl UpgradeRejection {
    const ALL: [Self; 4] = [Self::Origin, Self::Malformed, Self::RateLimited, Self::Draining];

    /// Returns the label value for metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Malformed => "malformed",
            Self::RateLimited => "too_often",
            Self::Draining => "draining",
        }
    }
}

/// Metrics of the gateway.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    connections_open: IntGauge,
    connections_opened: IntCounter,
    /// In the order of [`CloseCause::ALL`].
    connections_closed: [IntCounter; CloseCause::ALL.len()],
    /// In the order of [`UpgradeRejection::ALL`].
    upgrades_rejected: [IntCounter; UpgradeRejection::ALL.len()],
    /// Pauses of the accept loop.
    pub(crate) accept_backoffs: IntCounter,
    /// Time to connect to a core, all attempts included, in seconds.
    pub(crate) core_connect: Histogram,
    core_connections: IntGaugeVec,
    core_connect_failures: IntCounterVec,
    core_ejected: IntGaugeVec,
}

/// Guard of an open WebSocket; counts the close on drop.
#[derive(Debug)]
pub(crate) struct OpenConnection<'a> {
    metrics: &'a Metrics,
    cause: CloseCause,
}

impl Metrics {
    /// Registers all metrics at zero.
    pub(crate) fn new() -> Self {
        let registry = Registry::default();
        let r = &registry;
        let (closed, refused) = (r.counters(Metric::ConnectionsClosed), r.counters(Metric::UpgradesRejected));
        let ended = |cause: CloseCause| closed.with_label_values(&[&cause.code().to_string(), cause.name()]);
        Self {
            connections_open: r.gauge(Metric::ConnectionsOpen),
            connections_opened: r.counter(Metric::ConnectionsOpened),
            connections_closed: CloseCause::ALL.map(ended),
            upgrades_rejected: UpgradeRejection::ALL.map(|reason| refused.with_label_values(&[reason.name()])),
            accept_backoffs: r.counter(Metric::AcceptBackoffs),
            core_connect: r.histogram(Metric::CoreConnect, IO_SECONDS_BUCKETS),
            core_connections: r.gauges(Metric::CoreConnections),
            core_connect_failures: r.counters(Metric::CoreConnectFailures),
            core_ejected: r.gauges(Metric::CoreEjected),
            registry,
        }
    }

    /// Returns the registry for the admin port.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts an opened WebSocket. Dropped without [`OpenConnection::closing`] it counts as `internal`.
    pub(crate) fn open_connection(&self) -> OpenConnection<'_> {
        self.connections_opened.inc();
        self.connections_open.inc();
        OpenConnection { metrics: self, cause: CloseReason::Internal.into() }
    }

    /// Counts a rejected upgrade.
    pub(crate) fn upgrade_rejected(&self, reason: UpgradeRejection) {
        self.upgrades_rejected[reason as usize].inc();
    }

    /// Replaces the per-core series; cores that are no longer known disappear.
    pub(crate) fn set_cores(&self, cores: &[CoreStatus]) {
        self.core_connections.reset();
        self.core_connect_failures.reset();
        self.core_ejected.reset();
        for core in cores {
            let address = core.address.to_string();
            let label = &[address.as_str()];
            self.core_connections.with_label_values(label).set(to_gauge(core.open));
            self.core_connect_failures.with_label_values(label).inc_by(core.failed);
            self.core_ejected.with_label_values(label).set(i64::from(core.ejected));
        }
    }
}

impl OpenConnection<'_> {
    /// Sets the close cause counted on drop.
    pub(crate) fn closing(&mut self, cause: CloseCause) {
        self.cause = cause;
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        let index = CloseCause::ALL.iter().position(|cause| *cause == self.cause);
        if let Some(counter) = index.and_then(|index| self.metrics.connections_closed.get(index)) {
            counter.inc();
        }
        self.metrics.connections_open.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_label_once() {
        let metrics = Metrics::new();
        for cause in CloseCause::ALL {
            metrics.open_connection().closing(cause);
        }
        drop(metrics.open_connection());
        UpgradeRejection::ALL.into_iter().for_each(|reason| metrics.upgrade_rejected(reason));
        let text = metrics.registry().text();
        let has = |line: String| assert!(text.lines().any(|got| got == line), "no {line} in\n{text}");
        has("psicoia_gateway_connections_open 0".to_owned());
        has(format!("psicoia_gateway_connections_opened_total {}", CloseCause::ALL.len() + 1));
        for cause in CloseCause::ALL {
            let count = 1 + u32::from(cause == CloseReason::Internal.into());
            let labels = format!("code=\"{}\",reason=\"{cause}\"", cause.code());
            has(format!("psicoia_gateway_connections_closed_total{{{labels}}} {count}"));
        }
        for reason in UpgradeRejection::ALL {
            has(format!("psicoia_gateway_upgrades_rejected_total{{reason=\"{}\"}} 1", reason.name()));
        }
    }

    #[test]
    fn drops_series_of_removed_cores() {
        let (metrics, address) = (Metrics::new(), "192.0.2.1:5001".parse().unwrap());
        metrics.set_cores(&[CoreStatus { address, open: 3, failed: 2, ejected: true, absent: false, listed: true }]);
        let line = "psicoia_gateway_core_connect_failures_total{core=\"192.0.2.1:5001\"} 2";
        assert!(metrics.registry().text().contains(line));
        metrics.set_cores(&[]);
        assert!(!metrics.registry().text().contains("192.0.2.1"));
    }
}
