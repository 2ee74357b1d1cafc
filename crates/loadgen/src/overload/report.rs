//! Report of an overload run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Options;
use crate::chat::tally::Tally;
use crate::stats::{Percentiles, rate};

/// Results of an overload run.
#[derive(Debug, Clone, Serialize)]
pub struct OverloadReport {
    /// Answers per second that the model can give.
    pub capacity_per_second: f64,
    /// Messages sent per second.
    pub offered_per_second: f64,
    /// Time from the first message to the last answer.
    pub seconds: f64,
    /// Answered messages.
    pub served: u64,
    /// Answered messages as a fraction of the capacity in that time.
    pub served_of_capacity: f64,
    /// Failed messages by error code; also `connection_lost` and `no_answer`.
    pub refused: BTreeMap<String, u64>,
    /// Latency of refusals.
    pub refusal: Option<Percentiles>,
    /// Refusals without `retry_after_ms`.
    pub without_retry_after: u64,
    /// Latency of `accepted`, of answered messages.
    pub accepted: Option<Percentiles>,
    /// Latency of `done`.
    pub done: Option<Percentiles>,
    /// Highest number of concurrent calls to the model.
    pub most_at_once: usize,
    /// Allowed number of concurrent calls.
    pub slots: usize,
    /// Recovery after the overload; `None` if no later message was answered.
    pub back: Option<Recovery>,
}

/// Recovery, as measured by a user who arrives at the end of the overload.
#[derive(Debug, Clone, Serialize)]
pub struct Recovery {
    /// Time from the end of the overload to the first message that was not refused.
    #[serde(rename = "heard_after_ms")]
    pub accepted_after_ms: f64,
    /// Time from the end of the overload to its answer.
    pub answered_after_ms: f64,
    /// Messages refused before it.
    pub refused: u64,
    /// Latency of answers from then on, the first included.
    pub done: Option<Percentiles>,
}

impl Recovery {
    pub(super) fn new(accepted: Duration, answered: Duration, refused: u64, tally: &Tally) -> Self {
        let [accepted_after_ms, answered_after_ms] = [accepted, answered].map(|time| time.as_secs_f64() * 1e3);
        Self { accepted_after_ms, answered_after_ms, refused, done: tally.done.percentiles() }
    }
}

impl OverloadReport {
    pub(super) fn new(
        options: &Options,
        tally: &Tally,
        took: Duration,
        most_at_once: usize,
        back: Option<Recovery>,
    ) -> Self {
        let sent = tally.turns + tally.errors.values().sum::<u64>();
        Self {
            capacity_per_second: options.capacity(),
            offered_per_second: rate(sent, options.time),
            seconds: took.as_secs_f64(),
            served: tally.turns,
            served_of_capacity: rate(tally.turns, took) / options.capacity(),
            refused: tally.errors.clone(),
            refusal: tally.refused.percentiles(),
            without_retry_after: tally.without_retry_after,
            accepted: tally.accepted.percentiles(),
            done: tally.done.percentiles(),
            most_at_once,
            slots: options.slots,
            back,
        }
    }
}

impl fmt::Display for OverloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { capacity_per_second: capacity, offered_per_second: offered, seconds, served, .. } = self;
        writeln!(f, "capacity {capacity:.0}/s, offered {offered:.0}/s: × {:.1}", offered / capacity)?;
        writeln!(f, "served {served} in {seconds:.2} s: {:.3} of the capacity", self.served_of_capacity)?;
        for (code, count) in &self.refused {
            writeln!(f, "{code}: {count}")?;
        }
        let latencies = [("refused", self.refusal), ("accepted", self.accepted), ("done", self.done)];
        for (name, latency) in latencies {
            if let Some(latency) = latency {
                writeln!(f, "{name}: {latency}")?;
            }
        }
        writeln!(f, "without retry_after_ms: {}", self.without_retry_after)?;
        writeln!(f, "at once at the model: {} of {}", self.most_at_once, self.slots)?;
        let Some(Recovery { accepted_after_ms, answered_after_ms, refused, done }) = &self.back else {
            return writeln!(f, "when it was over nobody was heard");
        };
        writeln!(
            f,
            "when it was over: heard after {accepted_after_ms:.0} ms ({refused} refused before), answered after {answered_after_ms:.0} ms"
        )?;
        done.map_or(Ok(()), |done| writeln!(f, "from then on done: {done}"))
    }
}
