//! Risk as the input of a turn.

use safety::{Assessment, Context, Kinds, Level, Subject, companion};

/// Risk in force in a conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Risk {
    pub level: Level,
    /// Kinds found since there is a level.
    pub kinds: Kinds,
    /// Subject of the risk: the person, or somebody else.
    pub subject: Subject,
    /// The person has said that they are a minor.
    pub minor: bool,
    /// The level was high a short time ago, or a safety plan is in progress.
    pub follows_high: bool,
}

impl Risk {
    /// Returns true at `high` and `imminent`.
    pub fn is_high(self) -> bool {
        Level::High <= self.level
    }

    /// Returns true if a message must not be rejected for a limit: at high risk and shortly after it, because a level
    /// falls in the middle of a conversation about it.
    pub fn must_be_answered(self) -> bool {
        self.is_high() || self.follows_high
    }
}

/// Risk of one message, assessed on arrival in the context of those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageRisk {
    pub level: Level,
    /// Kinds of risk, also without a level.
    pub kinds: Kinds,
    /// Subject of the risk: the person, or somebody else.
    pub subject: Subject,
    /// The message says good-bye.
    pub takes_leave: bool,
}

impl MessageRisk {
    /// Combines `assessment` with a check of `text` for a good-bye.
    pub fn of(assessment: &Assessment, text: &str) -> Self {
        let Assessment { level, kinds, subject, .. } = *assessment;
        Self { level, kinds, subject, takes_leave: companion::takes_leave(text) }
    }

    /// Assesses `text` without context, for a message whose assessment was evicted.
    pub fn alone(text: &str) -> Self {
        Self::of(&safety::assess(&Context::default(), text), text)
    }
}
