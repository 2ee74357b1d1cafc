//! Risk as a turn needs to know it.

use safety::{Kinds, Level, Subject};

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
