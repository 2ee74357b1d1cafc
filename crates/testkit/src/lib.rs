//! What tests and benchmarks of both services share: stand-ins for the model and for the second opinion, the
//! transcript runner, peers, a paused clock that works with real sockets, and
//! processes with their logs and footprint.
//!
//! For tests and benchmarks only: no service may depend on it outside its
//! dev-dependencies.

#![warn(missing_docs)]

pub mod clock;
pub mod delay_proxy;
pub mod footprint;
pub mod guard;
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
