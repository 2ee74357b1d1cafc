//! Load for both services: people who chat, people who are idle, and the bare round
//! trip of a line through a bridge, beside HAProxy and beside nothing at all; and how soon
//! people in risk get help, whatever is wrong.
//!
//! Everything runs on one thread, so that the load takes as little as it can of the
//! machine it shares with what it measures.

#![warn(missing_docs)]

pub mod bridge;
pub mod chat;
pub mod disk;
pub mod echo;
mod error;
mod folder;
pub mod help;
pub mod idle;
mod observed;
pub mod overload;
pub mod pressure;
mod stats;
mod town;
mod via;

pub use error::LoadError;
pub use observed::{Cost, Observed};
pub use stats::{Latency, Percentiles};
pub use town::Binaries;
pub use via::{Client, Plain, Via};
