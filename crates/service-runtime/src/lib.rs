//! Service runtime shared by both services: start and configuration of a process, `.env`, secrets, signals, logs and
//! traces, trust anchors of outgoing TLS, metrics and the admin port. Knows nothing of conversations.
//!
//! ```
//! use service_runtime::{ConfigError, Secret};
//!
//! // A service collects the problems of all settings, and reports them at once.
//! let mut problems = ConfigError::default();
//! let port: u16 = problems.number("APP_PORT", "80000", 0..=u16::MAX);
//! assert_eq!((port, problems.problems.len()), (0, 1));
//!
//! // A secret cannot be logged.
//! let key = Secret::read(Some(" gsk_abc "), None).unwrap().unwrap();
//! assert_eq!((key.expose(), format!("{key:?}").as_str()), ("gsk_abc", "Secret(..)"));
//! ```

#![warn(missing_docs)]

mod accept_backoff;
pub mod admin;
mod args;
mod config_error;
mod dotenv;
mod env;
mod fd_limit;
mod health;
mod known_variables;
mod log_throttle;
pub mod metrics;
mod operator;
mod program;
mod secret;
pub mod signals;
pub mod telemetry;
pub mod tls;

pub use accept_backoff::AcceptBackoff;
pub use config_error::ConfigError;
pub use fd_limit::raise_fd_limit;
pub use health::connect_to_own_server;
pub use known_variables::is_known_variable;
pub use log_throttle::LogThrottle;
pub use operator::Operator;
pub use program::{ServiceArgs, TemporaryFailure, run_program};
pub use secret::Secret;
