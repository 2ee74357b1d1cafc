//! What Redis decides at once, in Lua.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("scripts/prelude.lua"), include_str!($file))))
    };
}

/// Claims a message.
pub(super) static CLAIM: LazyLock<Script> = script!("scripts/claim.lua");
/// Gives back the claim to a message that the person stopped.
pub(super) static RELEASE_STOPPED: LazyLock<Script> = script!("scripts/release_stopped.lua");
/// Counts an attempt that began as a new message as a repeated one.
pub(super) static RECOUNT_AS_RETRY: LazyLock<Script> = script!("scripts/recount_as_retry.lua");
/// What is claimed of a session.
pub(super) static IN_FLIGHT: LazyLock<Script> = script!("scripts/in_flight.lua");
/// A sign of life, and a share of the model calls.
pub(super) static HEARTBEAT: LazyLock<Script> = script!("scripts/heartbeat.lua");
/// Tokens of the day.
pub(super) static ADD_TOKENS: LazyLock<Script> = script!("scripts/add_tokens.lua");
/// An event that a restarted Redis has forgotten.
pub(super) static RESTORE_WINDOWS: LazyLock<Script> = script!("scripts/restore_windows.lua");
