//! Tests of the gateway from outside: a WebSocket client on one side, a scripted core on the other.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what is unexpected here fails the test")]

mod admission;
mod closing;
mod cores;
mod help_lines;
mod late_header;
mod lifecycle;
mod lines;
mod messages;
mod pages;
mod rig;
mod settings;
