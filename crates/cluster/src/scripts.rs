//! Lua scripts, which Redis runs atomically.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("scripts/prelude.lua"), include_str!($file))))
    };
}

/// Claims a message within the limits.
pub(crate) static CLAIM: LazyLock<Script> = script!("scripts/claim.lua");
/// Releases the claim to a message that the person stopped.
pub(crate) static RELEASE_STOPPED: LazyLock<Script> = script!("scripts/release_stopped.lua");
/// Moves an attempt from the windows of new messages to those of retries.
pub(crate) static RECOUNT_AS_RETRY: LazyLock<Script> = script!("scripts/recount_as_retry.lua");
/// Lists the claimed messages of a session.
pub(crate) static IN_FLIGHT: LazyLock<Script> = script!("scripts/in_flight.lua");
/// Renews this core's heartbeat and allots its share of the model calls.
pub(crate) static HEARTBEAT: LazyLock<Script> = script!("scripts/heartbeat.lua");
/// Adds to the tokens used on a day.
pub(crate) static ADD_TOKENS: LazyLock<Script> = script!("scripts/add_tokens.lua");
/// Adds rate-limit events that a restarted Redis lacks.
pub(crate) static RESTORE_WINDOWS: LazyLock<Script> = script!("scripts/restore_windows.lua");
