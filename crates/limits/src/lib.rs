//! Limits of both services. No limiter knows the resource it guards, logs, counts metrics or opens a socket.
//!
//! * Counters: [`RateLimiter`] (sliding window) and [`ConnectionLimiter`], whose callers give the time and never wait.
//! * Queues: [`ConcurrencyLimiter`] and [`RequestLimiter`], whose callers wait for a permit.
//! * [`Admission`] combines the counters into the admission control of a service, by [`ClientSubnet`].
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//!
//! use limits::{RateLimit, RateLimiter};
//! use tokio::time::Instant;
//!
//! let limiter = RateLimiter::new(RateLimit { events: 1, window: Duration::from_secs(60) });
//! let now = Instant::now();
//! assert_eq!(limiter.take("somebody", now), Ok(()));
//! assert_eq!(limiter.take("somebody", now), Err(Duration::from_secs(60)));
//! ```

#![warn(missing_docs)]

mod admission;
mod client_subnet;
mod concurrency_limiter;
mod connection_limiter;
mod rate_limit;
mod request_limiter;
mod trusted_proxies;

pub use admission::{Admission, AdmissionLimits, PreamblePermit, SPARE_SOCKETS, SocketPermit, SocketRejection};
pub use client_subnet::{ClientSubnet, EndSite};
pub use concurrency_limiter::{
    BackgroundPermit, ConcurrencyLimiter, ConcurrencyPermit, LimiterLoad, LimiterSaturated, PermitReservation, Priority,
};
pub use connection_limiter::{ConnectionLimiter, ConnectionPermit};
pub use rate_limit::{RateLimit, RateLimiter};
pub use request_limiter::{RequestLimiter, RequestPermit};
pub use trusted_proxies::TrustedProxies;
