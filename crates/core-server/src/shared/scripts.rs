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
pub(super) static STOPPED: LazyLock<Script> = script!("scripts/stopped.lua");
/// Counts an attempt that began as a new message as a repeated one.
pub(super) static EXCUSE: LazyLock<Script> = script!("scripts/excuse.lua");
/// What is claimed of a session.
pub(super) static UNDER_WAY: LazyLock<Script> = script!("scripts/under_way.lua");
/// A sign of life, and a share of the model calls.
pub(super) static BEAT: LazyLock<Script> = script!("scripts/beat.lua");
/// Tokens of the day.
pub(super) static TOKENS: LazyLock<Script> = script!("scripts/tokens.lua");
/// An event that a restarted Redis has forgotten.
pub(super) static RECALL: LazyLock<Script> = script!("scripts/recall.lua");
