//! Service runtime shared by both services: start and configuration of a process, `.env`, secrets, signals, logs and
//! traces, admission control and rate limits, metrics and the admin port. Knows nothing of conversations.
//!
//! ```
//! use service_runtime::{ConfigError, Secret, TrustedProxies};
//!
//! // A service collects the problems of all settings, and reports them at once.
//! let mut problems = ConfigError::default();
//! let port: u16 = problems.number("APP_PORT", "80000", 0..=u16::MAX);
//! let proxies = problems.check("TRUSTED_PROXIES", TrustedProxies::parse("10.0.0.0/33"));
//! assert_eq!((port, proxies, problems.problems.len()), (0, None, 2));
//!
//! // A secret cannot be logged.
//! let key = Secret::read(Some(" gsk_abc "), None).unwrap().unwrap();
//! assert_eq!((key.expose(), format!("{key:?}").as_str()), ("gsk_abc", "Secret(..)"));
//! ```

#![warn(missing_docs)]

mod accept_backoff;
pub mod admin;
mod admission;
mod args;
mod client_subnet;
mod config_error;
mod connection_limiter;
mod dotenv;
mod env;
mod fd_limit;
mod health;
mod known_variables;
mod log_throttle;
pub mod metrics;
mod operator;
mod program;
mod rate_limit;
mod secret;
pub mod signals;
pub mod telemetry;
mod trusted_proxies;

pub use accept_backoff::AcceptBackoff;
pub use admission::{Admission, AdmissionLimits, PreamblePermit, SPARE_SOCKETS, SocketPermit, SocketRejection};
pub use client_subnet::{ClientSubnet, EndSite};
pub use config_error::ConfigError;
pub use connection_limiter::{ConnectionLimiter, ConnectionPermit};
pub use fd_limit::raise_fd_limit;
pub use health::connect_to_own_server;
pub use known_variables::is_known_variable;
pub use log_throttle::LogThrottle;
pub use operator::Operator;
pub use program::{ServiceArgs, TemporaryFailure, run_program};
pub use rate_limit::{RateLimit, RateLimiter};
pub use secret::Secret;
pub use trusted_proxies::TrustedProxies;
