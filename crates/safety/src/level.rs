//! Levels of risk.

use std::fmt;

/// Levels of risk, rising. Never shown to the person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// No sign of risk, however sad.
    #[default]
    None,
    /// A passive wish: not to be, not to wake, to disappear, to be no burden.
    Concern,
    /// A wish or an intent to die or to hurt oneself, thoughts of methods, a recent attempt.
    High,
    /// A plan with time or means at hand, a farewell, an attempt being made or just made.
    Imminent,
}

impl Level {
    /// Name in data files, reports and `explain`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Concern => "concern",
            Self::High => "high",
            Self::Imminent => "imminent",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Items of the Columbia Suicide Severity Rating Scale (C-SSRS screener), by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cssrs {
    /// 1: wish to be dead.
    WishToBeDead = 1,
    /// 2: non-specific active suicidal thoughts.
    ActiveThoughts = 2,
    /// 3: suicidal thoughts with a method, without intent.
    Method = 3,
    /// 4: some intent to act, without a specific plan.
    Intent = 4,
    /// 5: a specific plan and intent.
    Plan = 5,
    /// 6: suicidal behaviour: preparation, an interrupted or an actual attempt.
    Behaviour = 6,
}
