//! Tests of `core-server` through its public interface.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an unexpected result fails the test")]

mod store;
