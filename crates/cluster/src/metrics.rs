//! Metrics of the cluster.

use service_runtime::metrics::{IntCounter, IntGauge, Registry};

service_runtime::metric_table! {
    /// Metrics of the cluster.
    pub enum ClusterMetric in "psicoia_core_" {
        Members: Gauge "cluster_members" []
            "Cores of the cluster, this one included, as known to this core; 1 without REDIS_URL.";
        RedisUp: Gauge "redis_up" [] "Whether this core is connected to Redis: 1, else 0.";
        RedisDisconnects: Counter "redis_disconnects_total" [] "Redis disconnects and failed connection attempts.";
    }
}

/// Metrics of the cluster. The gauges are set at a scrape: a core without Redis has them, too.
#[derive(Debug)]
pub struct ClusterMetrics {
    /// Cores of the cluster, this one included.
    pub members: IntGauge,
    /// 1 while connected to Redis, else 0.
    pub redis_up: IntGauge,
    /// Redis disconnects and failed connection attempts.
    pub redis_disconnects: IntCounter,
}

impl ClusterMetrics {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> Self {
        Self {
            members: registry.gauge(ClusterMetric::Members),
            redis_up: registry.gauge(ClusterMetric::RedisUp),
            redis_disconnects: registry.counter(ClusterMetric::RedisDisconnects),
        }
    }
}
