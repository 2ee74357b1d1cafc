//! Fixtures that several test binaries of `tests/` share. Behaviour of one service alone is tested in its crate.

#![warn(missing_docs)]
#![expect(clippy::unwrap_used, reason = "an unexpected value fails the test")]

pub mod in_process_stack;
