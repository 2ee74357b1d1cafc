//! The stateful service of PsicoIA: sessions, history, limits, and the calls to a language model.
//!
//! Layers, from top to bottom; each uses only the layers below it: `config` · [`server`] · [`connection`] ·
//! [`sessions`] · [`turn`] · [`metrics`] · [`cluster`] · [`guard`], [`limits`], [`llm`], [`store`] · `tls` · `protocol`.

pub mod cluster;
pub mod config;
pub mod connection;
mod explain;
pub mod guard;
mod health_check;
pub mod limits;
pub mod llm;
pub mod metrics;
mod report;
pub mod server;
pub mod sessions;
pub mod store;
mod tls;
pub mod turn;

pub use config::{Args, Command, Config};
pub use explain::{ExplainOptions, explain};
pub use health_check::check_health;
pub use report::report;
pub use server::Server;
