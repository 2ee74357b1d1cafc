//! Fault conditions under which help is measured.

use std::fmt;

use serde::Serialize;
use testkit::llm::{Answer, Fallback, Hang};

use super::fault::Stores;
use super::raw_user::EntryPoint;
use crate::service_stack::Setting;

/// Timeout longer than any run: a hanging call must not time out before all users are helped.
const LONGER_THAN_RUN_SECONDS: u32 = 600;
/// Connections besides the measured ones: witnesses and background load.
const OTHER_CONNECTIONS: usize = 200;

/// Fault condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// No fault.
    Well,
    /// The model sends nothing after a call.
    ModelSilent,
    /// The model stalls mid-answer.
    ModelStuck,
    /// The user's rate limit is exhausted.
    LimitsUsedUp,
    /// The user's concurrency limit is exhausted.
    PersonBusy,
    /// All slots and queue places are taken.
    QueueFull,
    /// Another process holds SQLite's write lock.
    SqliteLocked,
    /// PostgreSQL accepts connections and does not respond.
    PostgresFrozen,
    /// PostgreSQL is down.
    PostgresKilled,
    /// Redis accepts connections and does not respond.
    RedisFrozen,
    /// Redis is down.
    RedisKilled,
    /// The core is draining.
    Draining,
    /// Other users chat in a closed loop.
    UnderLoad,
}

/// Exchange before the message in risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preparation {
    Nothing,
    /// A message and its complete answer.
    Answered,
    /// A message whose model call is running.
    Asked,
    /// A message whose answer is streaming.
    Begun,
}

impl Condition {
    /// All conditions in order of measurement.
    pub const ALL: [Self; 13] = [
        Self::Well,
        Self::ModelSilent,
        Self::ModelStuck,
        Self::LimitsUsedUp,
        Self::PersonBusy,
        Self::QueueFull,
        Self::SqliteLocked,
        Self::PostgresFrozen,
        Self::PostgresKilled,
        Self::RedisFrozen,
        Self::RedisKilled,
        Self::Draining,
        Self::UnderLoad,
    ];

    pub(super) fn needs_redis(self) -> bool {
        matches!(self, Self::RedisFrozen | Self::RedisKilled)
    }

    pub(super) fn needs_postgres(self) -> bool {
        self.needs_redis() || matches!(self, Self::PostgresFrozen | Self::PostgresKilled)
    }

    pub(super) fn preparation(self) -> Preparation {
        match self {
            Self::LimitsUsedUp => Preparation::Answered,
            Self::ModelSilent | Self::PersonBusy => Preparation::Asked,
            Self::ModelStuck | Self::Draining => Preparation::Begun,
            _ => Preparation::Nothing,
        }
    }

    /// Error code of a message without risk, where it proves the condition. A drain is proved by its notice, because it
    /// refuses messages only after the running answers.
    pub(super) fn refuses_with(self) -> Option<&'static str> {
        match self {
            Self::LimitsUsedUp => Some("rate_limited"),
            Self::PersonBusy => Some("user_busy"),
            Self::QueueFull => Some("overloaded"),
            Self::SqliteLocked | Self::PostgresFrozen | Self::PostgresKilled => Some("unavailable"),
            _ => None,
        }
    }

    pub(super) fn model(self) -> Fallback {
        Fallback::Answer(match self {
            Self::ModelSilent | Self::PersonBusy | Self::QueueFull => Answer::default().hanging(Hang::Headers),
            Self::ModelStuck | Self::Draining => Answer::chunks(2).hanging(Hang::Stream),
            Self::UnderLoad => Answer::chunks(8),
            _ => Answer::text("Te escucho."),
        })
    }

    /// Settings of the core and the gateway. All users share one address.
    pub(super) fn settings(self, people: usize, stores: &Stores) -> [Vec<Setting>; 2] {
        let connections = people * EntryPoint::ALL.len() + OTHER_CONNECTIONS;
        let limits = ["MAX_CONNECTIONS_PER_ADDRESS", "CONNECTS_PER_MINUTE_PER_ADDRESS"];
        let limits = limits.map(|name| (name, connections.to_string())).to_vec();
        // Without summaries, every model call is an answer.
        let mut core = vec![("LLM_SUMMARY", "off".to_owned()), ("RATE_ADDRESS_FACTOR", "1000000".to_owned())];
        core.extend(self.limits(connections).map(|(name, limit)| (name, limit.to_string())));
        if !matches!(self.preparation(), Preparation::Nothing) || self == Self::QueueFull {
            let patience = LONGER_THAN_RUN_SECONDS.to_string();
            core.extend(TIMEOUT_SETTINGS.map(|name| (name, patience.clone())));
        }
        core.extend(limits.iter().cloned().chain(stores.settings()));
        [core, limits]
    }

    fn limits(self, connections: usize) -> [Limit; 4] {
        let used_up = if self == Self::LimitsUsedUp { 1 } else { 1_000_000 };
        let busy = if self == Self::PersonBusy { 1 } else { 2 };
        let [slots, queue] = if self == Self::QueueFull { [1, 1] } else { [connections; 2] };
        [("RATE_MAX_MESSAGES", used_up), ("PER_USER_MAX", busy), ("MAX_IN_FLIGHT", slots), ("QUEUE_MAX", queue)]
    }
}

type Limit = (&'static str, usize);

/// Timeouts of the core for model calls, queue and drain.
const TIMEOUT_SETTINGS: [&str; 7] = [
    "LLM_TIMEOUT_SECONDS",
    "LLM_FIRST_TOKEN_TIMEOUT_SECONDS",
    "LLM_SILENCE_TIMEOUT_SECONDS",
    "LLM_TOTAL_TIMEOUT_SECONDS",
    "LLM_DEADLINE_SECONDS",
    "QUEUE_TIMEOUT_SECONDS",
    "DRAIN_SECONDS",
];

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Well => "all well",
            Self::ModelSilent => "model hangs before a word",
            Self::ModelStuck => "model hangs in mid-answer",
            Self::LimitsUsedUp => "limits used up",
            Self::PersonBusy => "PER_USER_MAX reached",
            Self::QueueFull => "queue full",
            Self::SqliteLocked => "SQLite locked",
            Self::PostgresFrozen => "PostgreSQL hangs",
            Self::PostgresKilled => "PostgreSQL killed",
            Self::RedisFrozen => "Redis hangs",
            Self::RedisKilled => "Redis killed",
            Self::Draining => "during drain",
            Self::UnderLoad => "under load",
        })
    }
}
