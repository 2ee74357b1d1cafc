//! Settings of a cluster member.

use std::time::Duration;

use limits::RateLimit;

use crate::url::RedisUrl;

/// Settings of a cluster member.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Address of Redis.
    pub url: RedisUrl,
    /// Limits of all cores together.
    pub limits: ClusterLimits,
}

/// Cluster-wide limits.
#[derive(Debug, Clone, Copy)]
pub struct ClusterLimits {
    /// Messages per person.
    pub rate: RateLimit,
    /// Messages per client subnet.
    pub address_rate: RateLimit,
    /// Maximum pending messages of one person, queued and being answered.
    pub per_user_max: usize,
    /// Maximum concurrent model calls.
    pub max_in_flight: usize,
    /// Upper bound of a claim's lifetime: the time that all pending answers of a session take, one
    /// after another.
    pub longest_claim: Duration,
}
