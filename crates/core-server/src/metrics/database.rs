//! Connection pool of the database server.

use boot::metrics::{self, Histogram, IntCounter, IntGauge, Registry, SHORT, integer};

use super::names::Metric;

/// Meters that a store counts with itself. Clones share them.
#[derive(Debug, Clone)]
pub struct DatabaseMeter {
    /// Time to acquire a connection, in seconds.
    pub wait: Histogram,
    /// Acquire time-outs with every connection in use.
    pub exhausted: IntCounter,
}

impl Default for DatabaseMeter {
    fn default() -> Self {
        Self {
            wait: metrics::histogram(Metric::DatabaseConnectionWait, SHORT),
            exhausted: metrics::counter(Metric::DatabaseConnectionsExhausted),
        }
    }
}

/// Usage of the pool at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// Limit on connections.
    pub max: usize,
    /// Connections, those being established included.
    pub open: usize,
    /// Idle ones among them.
    pub idle: usize,
    /// Callers waiting for one.
    pub pending: usize,
}

/// Pool gauges, refreshed with each scrape.
#[derive(Debug)]
pub struct DatabaseGauges {
    max: IntGauge,
    open: IntGauge,
    in_use: IntGauge,
    idle: IntGauge,
    pending: IntGauge,
}

impl DatabaseGauges {
    pub(super) fn new(registry: &Registry, meter: &DatabaseMeter) -> Self {
        registry.adopt(&meter.wait);
        registry.adopt(&meter.exhausted);
        Self {
            max: registry.gauge(Metric::DatabaseConnectionsMax),
            open: registry.gauge(Metric::DatabaseConnectionsOpen),
            in_use: registry.gauge(Metric::DatabaseConnectionsInUse),
            idle: registry.gauge(Metric::DatabaseConnectionsIdle),
            pending: registry.gauge(Metric::DatabaseConnectionsPending),
        }
    }

    /// Sets the gauges.
    pub fn set(&self, PoolUse { max, open, idle, pending }: PoolUse) {
        self.max.set(integer(max));
        self.open.set(integer(open));
        self.in_use.set(integer(open.saturating_sub(idle)));
        self.idle.set(integer(idle));
        self.pending.set(integer(pending));
    }
}
