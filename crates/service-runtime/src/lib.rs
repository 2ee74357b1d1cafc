//! Service runtime shared by both services: start and configuration of a process, `.env`, secrets, signals, logs and
//! traces, trust anchors of outgoing TLS, metrics and the admin port. Knows nothing of conversations.

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
