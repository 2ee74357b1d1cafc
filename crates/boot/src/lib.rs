//! What both services do around their real work: logs and traces, signals, secrets,
//! `.env`, the checked start of a process, who is trusted and how many may connect. It knows
//! neither conversations nor sockets.

mod args;
mod config_error;
mod env;
mod fd_limit;
mod health;
mod program;
mod seats;
mod secret;

pub mod signals;
pub mod telemetry;
mod trusted_proxies;

pub use config_error::ConfigError;
pub use fd_limit::raise_fd_limit;
pub use health::connect_to_own_server;
pub use program::run_program;
pub use seats::{Seat, Seats};
pub use secret::Secret;
pub use trusted_proxies::TrustedProxies;
