//! What both services do around their real work: logs and traces, signals, secrets,
//! `.env`, and the checked start of a process. It knows neither conversations nor sockets.

mod args;
mod config_error;
mod env;
mod fd_limit;
mod health;
mod program;
mod secret;

pub mod signals;
pub mod telemetry;
mod trusted_proxies;

pub use config_error::ConfigError;
pub use fd_limit::raise_fd_limit;
pub use health::connect_to_own_server;
pub use program::run_program;
pub use secret::Secret;
pub use trusted_proxies::TrustedProxies;
