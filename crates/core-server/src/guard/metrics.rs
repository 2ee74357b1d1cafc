//! Calls for second opinions. Counts outcomes of calls, never levels: a level says something of a person.

use service_runtime::metrics::{Histogram, IO_SECONDS_BUCKETS, IntCounter, Registry};

service_runtime::metric_table! {
    /// Metrics of the guard.
    pub enum GuardMetric in "psicoia_core_" {
        Calls: Counter "guard_calls_total" ["outcome"]
            "Requests for a second opinion (GUARD_URL), by outcome of the call; never by level.";
        CallDuration: Histogram "guard_call_duration_seconds" [] "Time to a second opinion, in seconds.";
    }
}

/// Outcome of a request for a second opinion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardOutcome {
    /// An opinion arrived in time.
    Success,
    /// The call failed.
    Error,
    /// The deadline expired.
    Timeout,
    /// No call was made: the breaker is open, or the guard is not prepared.
    Skipped,
}

/// Metrics of the guard.
#[derive(Debug, Clone)]
pub struct GuardMetrics {
    /// In the order of [`GuardOutcome::ALL`].
    calls: [IntCounter; GuardOutcome::ALL.len()],
    /// Time to an opinion, successful calls only, in seconds.
    pub time: Histogram,
}

impl GuardOutcome {
    /// Every outcome, in the order of the counters.
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
    pub(crate) fn new(registry: &Registry) -> Self {
        let calls = registry.counters(GuardMetric::Calls);
        Self {
            calls: GuardOutcome::ALL.map(|outcome| calls.with_label_values(&[outcome.name()])),
            time: registry.histogram(GuardMetric::CallDuration, IO_SECONDS_BUCKETS),
        }
    }

    /// Counts a request for an opinion.
    pub fn ended(&self, outcome: GuardOutcome) {
        self.calls[outcome as usize].inc();
    }
}
