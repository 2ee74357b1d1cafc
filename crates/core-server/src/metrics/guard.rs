//! Second opinions: whether there was one, never what it was.

use boot::metrics::{Histogram, IntCounter, Registry, SHORT};

use super::names::Metric;

/// What became of the wish for a second opinion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardOutcome {
    /// There was one.
    Success,
    /// The call failed.
    Error,
    /// There was none in time.
    Timeout,
    /// It was not asked for: after failures in a row, or before the guard was prepared.
    Skipped,
}

/// What is counted of them.
#[derive(Debug, Clone)]
pub struct GuardMetrics {
    /// In the order of [`GuardOutcome::ALL`].
    calls: [IntCounter; GuardOutcome::ALL.len()],
    /// How long those took that were given.
    pub time: Histogram,
}

impl GuardOutcome {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Success, Self::Error, Self::Timeout, Self::Skipped];

    fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Skipped => "skipped",
        }
    }
}

impl GuardMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let calls = registry.counters(Metric::GuardCalls);
        Self {
            calls: GuardOutcome::ALL.map(|outcome| calls.with_label_values(&[outcome.name()])),
            time: registry.histogram(Metric::GuardCallDuration, SHORT),
        }
    }

    /// Counts one.
    pub fn ended(&self, outcome: GuardOutcome) {
        self.calls[outcome as usize].inc();
    }
}
