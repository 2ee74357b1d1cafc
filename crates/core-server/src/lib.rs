//! The stateful service of PsicoIA: conversations and their answers, served to connections.
//!
//! Layers, from top to bottom; each uses only the layers below it: [`server`] · [`connection`] · [`config`],
//! [`sessions`] · [`turn`] · [`metrics`], [`guard`]. The session as a machine, storage,
//! limits, the cluster and the client of the model are crates of their own: `session`, `store`, `limits`, `cluster`, `llm`.

pub mod config;
pub mod connection;
mod explain;
pub mod guard;
mod health_check;
pub mod metrics;
mod report;
pub mod server;
pub mod sessions;
pub mod turn;

pub use config::{Args, Command, Config};
pub use explain::{ExplainOptions, explain};
pub use health_check::check_health;
pub use report::report;
pub use server::Server;
