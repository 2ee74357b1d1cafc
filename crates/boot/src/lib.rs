//! What both services do around their real work: logs and traces, signals, secrets,
//! `.env`, and the checked start of a process. It knows neither conversations nor sockets.

mod args;
mod config_error;
mod env;
mod fd_limit;
mod secret;

pub mod signals;
pub mod telemetry;
mod trusted_proxies;

pub use args::parse_args;
pub use config_error::ConfigError;
pub use env::load_dotenv;
pub use fd_limit::raise_fd_limit;
pub use secret::Secret;
pub use trusted_proxies::TrustedProxies;

/// Exit code of a bad configuration (`EX_CONFIG` of sysexits.h).
pub const EX_CONFIG: u8 = 78;
