//! Lets browsers talk to PsicoIA: turns one WebSocket into one TCP connection to the core and back.
//!
//! It keeps nothing that outlives a connection and never looks inside a line; it also serves
//! the web client and health pages. It must know nothing of sessions, models or stores.
//!
//! Layers, each of which may use only what stands below it: [`config`] and server → connection →
//! http → metrics → bridge → upstream → [`close`].

mod bridge;
pub mod close;
pub mod config;
mod connection;
mod health_check;
mod http;
mod metrics;
mod server;
mod upstream;
mod workers;

pub use self::bridge::KeepaliveSettings;
pub use self::config::{Args, Config};
pub use self::connection::Gateway;
pub use self::health_check::check_health;
pub use self::http::{Origin, OriginPolicy};
pub use self::metrics::Metric;
pub use self::server::{BindError, DrainReport, bind};
pub use self::upstream::{CoreAddress, CoreAddresses};
pub use self::workers::Workers;
