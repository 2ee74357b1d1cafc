//! Tests of the session machine through its public interface.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an unexpected result fails the test")]
#![expect(clippy::disallowed_types, reason = "the machine has no clock: tests pass instants of their own")]

mod admission;
mod answers;
mod endings;
mod model;
mod scene;
mod several_cores;
mod sim;
