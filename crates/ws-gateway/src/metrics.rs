//! What the gateway counts: as a connection begins and ends, nothing for a message. A counter that all
//! threads share would cost more than the message itself.

mod names;

use boot::metrics::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, SHORT, integer};
use protocol::CloseReason;

pub use names::Metric;

use crate::close::Ending;
use crate::upstream::CoreUse;

/// Why an upgrade was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpgradeRefusal {
    /// A page that may not connect.
    Origin,
    /// Not a WebSocket's request, or another version.
    Malformed,
    /// Too many from this address.
    TooOften,
    /// The gateway is going away.
    Draining,
}

impl UpgradeRefusal {
    const ALL: [Self; 4] = [Self::Origin, Self::Malformed, Self::TooOften, Self::Draining];

    /// Its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Malformed => "malformed",
            Self::TooOften => "too_often",
            Self::Draining => "draining",
        }
    }
}

/// All that the gateway counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    connections_open: IntGauge,
    connections_opened: IntCounter,
    /// In the order of [`Ending::ALL`].
    connections_closed: [IntCounter; Ending::ALL.len()],
    /// In the order of [`UpgradeRefusal::ALL`].
    upgrades_refused: [IntCounter; UpgradeRefusal::ALL.len()],
    /// Pauses in accepting.
    pub(crate) accept_pauses: IntCounter,
    /// Time to connect to a core, all tries together.
    pub(crate) core_connect: Histogram,
    core_connections: IntGaugeVec,
    core_connects_failed: IntCounterVec,
    core_ejected: IntGaugeVec,
}

/// An open WebSocket. Counted as closed when it is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection<'a> {
    metrics: &'a Metrics,
    ending: Ending,
}

impl Metrics {
    /// Nothing has happened yet.
    pub(crate) fn new() -> Self {
        let registry = Registry::default();
        let r = &registry;
        let (closed, refused) = (r.counters(Metric::ConnectionsClosed), r.counters(Metric::UpgradesRefused));
        let ended = |ending: Ending| closed.with_label_values(&[&ending.code().to_string(), ending.name()]);
        Self {
            connections_open: r.gauge(Metric::ConnectionsOpen),
            connections_opened: r.counter(Metric::ConnectionsOpened),
            connections_closed: Ending::ALL.map(ended),
            upgrades_refused: UpgradeRefusal::ALL.map(|reason| refused.with_label_values(&[reason.name()])),
            accept_pauses: r.counter(Metric::AcceptPauses),
            core_connect: r.histogram(Metric::CoreConnect, SHORT),
            core_connections: r.gauges(Metric::CoreConnections),
            core_connects_failed: r.counters(Metric::CoreConnectsFailed),
            core_ejected: r.gauges(Metric::CoreEjected),
            registry,
        }
    }

    /// Everything, to be told.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts a WebSocket. Without [`OpenConnection::closing`] its end is a defect.
    pub(crate) fn open_connection(&self) -> OpenConnection<'_> {
        self.connections_opened.inc();
        self.connections_open.inc();
        OpenConnection { metrics: self, ending: CloseReason::Internal.into() }
    }

    /// Counts an upgrade that was not granted.
    pub(crate) fn upgrade_refused(&self, reason: UpgradeRefusal) {
        self.upgrades_refused[reason as usize].inc();
    }

    /// Tells how the cores are now. Those that are gone are told of no more.
    pub(crate) fn set_cores(&self, cores: &[CoreUse]) {
        self.core_connections.reset();
        self.core_connects_failed.reset();
        self.core_ejected.reset();
        for core in cores {
            let address = core.address.to_string();
            let label = &[address.as_str()];
            self.core_connections.with_label_values(label).set(integer(core.open));
            self.core_connects_failed.with_label_values(label).inc_by(core.failed);
            self.core_ejected.with_label_values(label).set(i64::from(core.ejected));
        }
    }
}

impl OpenConnection<'_> {
    /// It ends like this.
    pub(crate) fn closing(&mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        let index = Ending::ALL.iter().position(|ending| *ending == self.ending);
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
    fn each_is_counted_under_its_own_label() {
        let metrics = Metrics::new();
        for ending in Ending::ALL {
            metrics.open_connection().closing(ending);
        }
        drop(metrics.open_connection());
        UpgradeRefusal::ALL.into_iter().for_each(|reason| metrics.upgrade_refused(reason));
        let text = metrics.registry().text();
        let has = |line: String| assert!(text.lines().any(|got| got == line), "no {line} in\n{text}");
        has("psicoia_gateway_connections_open 0".to_owned());
        has(format!("psicoia_gateway_connections_opened_total {}", Ending::ALL.len() + 1));
        for ending in Ending::ALL {
            let count = 1 + u32::from(ending == CloseReason::Internal.into());
            let labels = format!("code=\"{}\",reason=\"{ending}\"", ending.code());
            has(format!("psicoia_gateway_connections_closed_total{{{labels}}} {count}"));
        }
        for reason in UpgradeRefusal::ALL {
            has(format!("psicoia_gateway_upgrades_refused_total{{reason=\"{}\"}} 1", reason.name()));
        }
    }

    #[test]
    fn a_core_that_is_gone_is_told_of_no_more() {
        let (metrics, address) = (Metrics::new(), "192.0.2.1:5001".parse().unwrap());
        metrics.set_cores(&[CoreUse { address, open: 3, failed: 2, ejected: true, absent: false, listed: true }]);
        let line = "psicoia_gateway_core_connects_failed_total{core=\"192.0.2.1:5001\"} 2";
        assert!(metrics.registry().text().contains(line));
        metrics.set_cores(&[]);
        assert!(!metrics.registry().text().contains("192.0.2.1"));
    }
}
