//! All that may be wrong when somebody needs help.

use std::fmt;

use serde::Serialize;
use testkit::llm::{Answer, Fallback, Hang};

use super::fault::Stores;
use super::visitor::Door;
use crate::town::Setting;

/// Longer than any run: nothing that hangs is given up before everybody is helped.
const FOR_EVER_SECONDS: u32 = 600;
/// Beside those who are counted: witnesses, and others who are in the way.
const OTHERS: usize = 200;

/// All that is wrong, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Nothing is wrong.
    Well,
    /// The model has been asked and says nothing.
    ModelSilent,
    /// The model has begun an answer and does not go on.
    ModelStuck,
    /// The person has sent as many messages as they may.
    LimitsUsedUp,
    /// As many of the person's messages as may be are being answered.
    PersonBusy,
    /// Every slot is taken, and every place in the queue.
    QueueFull,
    /// Another process holds the lock for writing to the SQLite database.
    SqliteLocked,
    /// PostgreSQL takes connections and answers nothing.
    PostgresFrozen,
    /// PostgreSQL is gone.
    PostgresKilled,
    /// Redis takes connections and answers nothing.
    RedisFrozen,
    /// Redis is gone.
    RedisKilled,
    /// The core has been asked to stop, and waits for answers that have begun.
    Draining,
    /// Others talk as fast as they are answered.
    UnderLoad,
}

/// What people do before they are in risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    /// A message, and its whole answer.
    Answered,
    /// A message that the model has been asked about.
    Asked,
    /// A message whose answer has begun.
    Begun,
}

impl Condition {
    /// In the order in which they are measured.
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

    pub(super) fn before(self) -> Before {
        match self {
            Self::LimitsUsedUp => Before::Answered,
            Self::ModelSilent | Self::PersonBusy => Before::Asked,
            Self::ModelStuck | Self::Draining => Before::Begun,
            _ => Before::Nothing,
        }
    }

    /// The code of the error that a message without risk gets, where that shows that the condition is there. Drain shows by
    /// its notice: what it refuses it refuses when the answers that have begun are at their end.
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

    /// Of the core and of the gateway. All come from one address.
    pub(super) fn settings(self, people: usize, stores: &Stores) -> [Vec<Setting>; 2] {
        let everybody = people * Door::ALL.len() + OTHERS;
        let doors = ["MAX_CONNECTIONS_PER_ADDRESS", "CONNECTS_PER_MINUTE_PER_ADDRESS"];
        let doors = doors.map(|name| (name, everybody.to_string())).to_vec();
        // Calls to the model are answers only.
        let mut core = vec![("LLM_SUMMARY", "off".to_owned()), ("RATE_ADDRESS_FACTOR", "1000000".to_owned())];
        core.extend(self.limits(everybody).map(|(name, limit)| (name, limit.to_string())));
        if !matches!(self.before(), Before::Nothing) || self == Self::QueueFull {
            let patience = FOR_EVER_SECONDS.to_string();
            core.extend(PATIENCE.map(|name| (name, patience.clone())));
        }
        core.extend(doors.iter().cloned().chain(stores.settings()));
        [core, doors]
    }

    fn limits(self, everybody: usize) -> [Limit; 4] {
        let used_up = if self == Self::LimitsUsedUp { 1 } else { 1_000_000 };
        let busy = if self == Self::PersonBusy { 1 } else { 2 };
        let [slots, queue] = if self == Self::QueueFull { [1, 1] } else { [everybody; 2] };
        [("RATE_MAX_MESSAGES", used_up), ("PER_USER_MAX", busy), ("MAX_IN_FLIGHT", slots), ("QUEUE_MAX", queue)]
    }
}

type Limit = (&'static str, usize);

/// How long the core waits for a model, for a slot, and for the end of answers.
const PATIENCE: [&str; 7] = [
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
