//! Load generator for both services: chatting and idle users, overload and attacks, the round
//! trip of a line compared with HAProxy and a bare connection, and the time to help of users
//! in risk under faults.
//!
//! Runs on one thread, so that the load takes little of the machine it shares with the
//! services it measures.

#![warn(missing_docs)]

pub mod bridge;
pub mod chat;
pub mod disk;
pub mod echo;
mod error;
mod folder;
pub mod help;
pub mod idle;
pub mod overload;
pub mod pressure;
mod service_stack;
mod stats;
mod target;
mod watched_process;

pub use error::LoadError;
pub use service_stack::Binaries;
pub use stats::{Latency, Percentiles};
pub use target::{Client, RawConnection, Target};
pub use watched_process::{Cost, WatchedProcess};
