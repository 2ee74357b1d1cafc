//! Conformance of the Rust types to `proto-line`: well formed lines are parsed, malformed ones are rejected, and every
//! encoded frame is valid by the contract.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what is unexpected here fails the test")]

mod contract;
mod mutations;
mod server_frames;
mod spec;
mod vectors;
