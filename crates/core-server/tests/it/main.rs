//! `core-server` from the outside, through its public types.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what is unexpected here fails the test")]

mod store;
