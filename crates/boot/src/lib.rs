//! What both services do around their real work: logs and traces, signals, secrets,
//! `.env`, the checked start of a process, who is trusted, how many may connect and how often, and the
//! port for health and metrics. It knows nothing of conversations.

mod accept_pauses;
pub mod admin;
mod admission;
mod args;
mod config_error;
mod dotenv;
mod env;
mod fd_limit;
mod health;
mod household;
mod known_variables;
mod log_throttle;
pub mod metrics;
mod operator;
mod program;
mod rate_limit;
mod seats;
mod secret;

pub mod signals;
pub mod telemetry;
mod trusted_proxies;

pub use accept_pauses::AcceptPauses;
pub use admission::{Admission, AdmissionLimits, PreamblePermit, SPARE_SOCKETS, SocketPermit, SocketRefusal};
pub use config_error::ConfigError;
pub use fd_limit::raise_fd_limit;
pub use health::connect_to_own_server;
pub use household::{Household, Site};
pub use known_variables::is_known_variable;
pub use log_throttle::LogThrottle;
pub use operator::Operator;
pub use program::{ServiceArgs, TemporaryFailure, run_program};
pub use rate_limit::{RateLimit, RateLimiter};
pub use seats::{Seat, Seats};
pub use secret::Secret;
pub use trusted_proxies::TrustedProxies;
