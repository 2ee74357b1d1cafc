//! Coordination through Redis of cores that serve one database: shared limits, claims to messages, and events of
//! sessions.
//!
//! Redis holds no durable state, and no core depends on it: while it is unreachable each core enforces its share of the
//! limits, and reconnects in the background. Published events are hints that save a database read; a core that missed
//! some reads the database.
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//!
//! use cluster::{Cluster, ClusterLimits, ClusterMetrics, ClusterSettings};
//! use limits::RateLimit;
//! use service_runtime::metrics::Registry;
//!
//! let rate = RateLimit { events: 10, window: Duration::from_secs(60) };
//! let limits = ClusterLimits {
//!     rate,
//!     address_rate: rate,
//!     per_user_max: 3,
//!     max_in_flight: 20,
//!     longest_claim: Duration::from_secs(3_600),
//! };
//! let settings = ClusterSettings { url: "redis://127.0.0.1".parse().unwrap(), limits };
//! let metrics = ClusterMetrics::new(&Registry::default());
//! let (cluster, _events) = Cluster::new(settings, metrics.redis_disconnects.clone());
//! // Not connected before `Cluster::run`: this core is the only one that it knows.
//! assert_eq!((cluster.is_connected(), cluster.members()), (false, 1));
//! ```

#![warn(missing_docs)]

mod claim;
mod claims;
mod cluster_event;
mod command;
mod connection;
mod core_id;
mod envelope;
mod keys;
mod member;
mod metrics;
mod publisher;
mod scripts;
mod settings;
mod tokens;
mod url;

pub use claim::{Claim, ClaimNumber, ClaimOutcome, CountedAttempt, InFlight, WindowKind};
pub use cluster_event::ClusterEvent;
pub use core_id::CoreId;
pub use envelope::{Envelope, MalformedEvent};
pub use member::Cluster;
pub use metrics::{ClusterMetric, ClusterMetrics};
pub use settings::{ClusterLimits, ClusterSettings};
pub use url::{RedisUrl, RedisUrlError};

#[cfg(test)]
mod tests;
