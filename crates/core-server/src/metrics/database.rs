//! Connections to a database's server.

use boot::metrics::{self, Histogram, IntCounter, IntGauge, Registry, SHORT, integer};

use super::names::Metric;

/// What a store counts on its own. Clones are the same.
#[derive(Debug, Clone)]
pub struct DatabaseMeter {
    /// Time until there was a connection.
    pub wait: Histogram,
    /// Waits given up because every connection was in use.
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

/// How the connections are used at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// So many there may be.
    pub max: usize,
    /// So many there are, those that are being made included.
    pub open: usize,
    /// So many of them are free.
    pub idle: usize,
    /// So many wait for one.
    pub pending: usize,
}

/// The connections as they were when somebody last looked.
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

    /// Tells how they are now.
    pub fn set(&self, PoolUse { max, open, idle, pending }: PoolUse) {
        self.max.set(integer(max));
        self.open.set(integer(open));
        self.in_use.set(integer(open.saturating_sub(idle)));
        self.idle.set(integer(idle));
        self.pending.set(integer(pending));
    }
}
