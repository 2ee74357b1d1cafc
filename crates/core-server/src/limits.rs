//! Rate and concurrency limits. No limiter knows the resource it guards.

mod concurrency_limiter;
mod request_limiter;

pub use concurrency_limiter::{
    BackgroundPermit, ConcurrencyLimiter, ConcurrencyPermit, LimiterLoad, LimiterSaturated, PermitReservation, Priority,
};
pub use request_limiter::{RequestLimiter, RequestPermit};
pub use service_runtime::{RateLimit, RateLimiter};
