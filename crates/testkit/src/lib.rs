//! Test support for both services: stand-ins for the model and the second opinion, transcript runner, protocol clients,
//! a paused clock that works with real sockets, real databases, and processes with their logs and resource use.
//!
//! For tests and benchmarks: services may depend on it only in their dev-dependencies.

#![warn(missing_docs)]

pub mod clock;
pub mod delay_proxy;
pub mod footprint;
pub mod guard;
pub mod http_peer;
pub mod line_peer;
pub mod llm;
pub mod peer;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod steal_time;
pub mod transcript;
pub mod watchdog;
pub mod ws_peer;
