//! Connection pool of the database server.

use service_runtime::metrics::{self, Histogram, IO_SECONDS_BUCKETS, IntCounter, IntGauge, Registry, to_gauge};

service_runtime::metric_table! {
    /// Metrics of the connection pool.
    pub enum DatabaseMetric in "psicoia_core_" {
        ConnectionsMax: Gauge "database_connections_max" []
            "Limit on connections to the PostgreSQL server; 0 with SQLite.";
        ConnectionsOpen: Gauge "database_connections_open" []
            "Connections to the PostgreSQL server, those being established included.";
        ConnectionsInUse: Gauge "database_connections_in_use" [] "Connections running a query.";
        ConnectionsIdle: Gauge "database_connections_idle" [] "Idle pooled connections.";
        ConnectionsPending: Gauge "database_connections_pending" []
            "Reads and writes waiting for a connection.";
        ConnectionWait: Histogram "database_connection_wait_seconds" []
            "Time to acquire a connection, in seconds.";
        ConnectionsExhausted: Counter "database_connections_exhausted_total" []
            "Time-outs waiting for a connection with every one in use.";
    }
}

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
            wait: metrics::histogram(DatabaseMetric::ConnectionWait, IO_SECONDS_BUCKETS),
            exhausted: metrics::counter(DatabaseMetric::ConnectionsExhausted),
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
    /// Registers the gauges, and `meter`, which the store counts with.
    pub fn new(registry: &Registry, meter: &DatabaseMeter) -> Self {
        registry.adopt(&meter.wait);
        registry.adopt(&meter.exhausted);
        Self {
            max: registry.gauge(DatabaseMetric::ConnectionsMax),
            open: registry.gauge(DatabaseMetric::ConnectionsOpen),
            in_use: registry.gauge(DatabaseMetric::ConnectionsInUse),
            idle: registry.gauge(DatabaseMetric::ConnectionsIdle),
            pending: registry.gauge(DatabaseMetric::ConnectionsPending),
        }
    }

    /// Sets the gauges.
    pub fn set(&self, PoolUse { max, open, idle, pending }: PoolUse) {
        self.max.set(to_gauge(max));
        self.open.set(to_gauge(open));
        self.in_use.set(to_gauge(open.saturating_sub(idle)));
        self.idle.set(to_gauge(idle));
        self.pending.set(to_gauge(pending));
    }
}
