//! Limits: messages in a window, requests and model calls at once. None of these knows what it limits.

mod concurrency_limiter;
mod request_limiter;

pub use boot::{RateLimit, RateLimiter};
pub use concurrency_limiter::{
    BackgroundPermit, ConcurrencyLimiter, ConcurrencyPermit, LimiterLoad, LimiterSaturated, PermitReservation, Priority,
};
pub use request_limiter::{RequestLimiter, RequestPermit};
