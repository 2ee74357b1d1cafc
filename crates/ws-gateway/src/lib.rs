//! WebSocket gateway of PsicoIA: bridges each WebSocket to one TCP connection to a core.
//!
//! Stateless beyond a connection: it does not parse lines and knows nothing of sessions, models or stores. Also serves
//! the web client and health pages.
//!
//! Layers, each of which may use only those to its right: server → connection → http → metrics → [`config`] → bridge →
//! upstream → [`close`], origin.

mod bridge;
pub mod close;
pub mod config;
mod connection;
mod health_check;
mod http;
mod metrics;
mod origin;
mod server;
mod upstream;
mod workers;

pub use self::bridge::KeepaliveSettings;
pub use self::config::{Args, Config};
pub use self::connection::Gateway;
pub use self::health_check::check_health;
pub use self::metrics::Metric;
pub use self::origin::{Origin, OriginPolicy};
pub use self::server::{BindError, DrainReport, bind};
pub use self::upstream::{CoreAddress, CoreAddresses};
pub use self::workers::Workers;
