//! Risk as a turn needs to know it.

use safety::{Assessment, Context, Kinds, Level, Subject, companion};

/// Risk in force in a conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Risk {
    /// How grave it is.
    pub level: Level,
    /// Kinds seen since there is a level.
    pub kinds: Kinds,
    /// Who is at risk.
    pub subject: Subject,
    /// The person has said that they are a minor.
    pub minor: bool,
}

impl Risk {
    /// Tells whether messages are not refused for a limit: the risk is high, or imminent.
    pub fn is_high(self) -> bool {
        Level::High <= self.level
    }
}

/// What one message says of risk, as it was assessed on arrival in the light of those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageRisk {
    /// How grave it is.
    pub level: Level,
    /// Kinds of risk, also without a level.
    pub kinds: Kinds,
    /// Who is at risk.
    pub subject: Subject,
    /// It says good-bye.
    pub takes_leave: bool,
}

impl MessageRisk {
    /// Returns what `assessment` says of `text`.
    pub fn of(assessment: &Assessment, text: &str) -> Self {
        let Assessment { level, kinds, subject, .. } = *assessment;
        Self { level, kinds, subject, takes_leave: companion::takes_leave(text) }
    }

    /// Assesses `text` alone, where its assessment is not known any more.
    pub fn alone(text: &str) -> Self {
        Self::of(&safety::assess(&Context::default(), text), text)
    }
}
