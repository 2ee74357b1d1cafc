//! The Rust types held against `proto-line`, in both directions: what the contract gives as
//! well formed is read, what it refuses is refused, and what the types write is the contract's.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what is unexpected here fails the test")]

mod contract;
mod mutations;
mod server_frames;
mod spec;
mod vectors;
