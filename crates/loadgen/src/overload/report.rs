//! The result of an overload.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Options;
use crate::chat::tally::Tally;
use crate::stats::{Percentiles, rate};

/// What came of too many messages.
#[derive(Debug, Clone, Serialize)]
pub struct OverloadReport {
    /// Answers a second that the model can give.
    pub capacity_per_second: f64,
    /// Messages a second that were sent.
    pub offered_per_second: f64,
    /// From the first message to the last answer.
    pub seconds: f64,
    /// Messages that were answered.
    pub served: u64,
    /// The same as a part of what the model could have answered in that time.
    pub served_of_capacity: f64,
    /// Messages that were not, by error code; also `connection_lost` and `no_answer`.
    pub refused: BTreeMap<String, u64>,
    /// From a message to its refusal.
    pub refusal: Option<Percentiles>,
    /// Refusals without `retry_after_ms`.
    pub without_retry_after: u64,
    /// From a message that was answered to its `accepted`.
    pub accepted: Option<Percentiles>,
    /// To the end of its answer.
    pub done: Option<Percentiles>,
    /// Calls to the model at once, at most, and how many may be.
    pub most_at_once: usize,
    /// The slots.
    pub slots: usize,
    /// How it was when the overload was over; `None`: nobody was heard any more.
    pub back: Option<Back>,
}

/// The end of an overload, for someone who comes then.
#[derive(Debug, Clone, Serialize)]
pub struct Back {
    /// From the end of the overload to the first message that was not refused.
    pub heard_after_ms: f64,
    /// To its answer.
    pub answered_after_ms: f64,
    /// Messages that were refused before.
    pub refused: u64,
    /// Answers from then on, the first included.
    pub done: Option<Percentiles>,
}

impl Back {
    pub(super) fn new(heard: Duration, answered: Duration, refused: u64, tally: &Tally) -> Self {
        let [heard_after_ms, answered_after_ms] = [heard, answered].map(|time| time.as_secs_f64() * 1e3);
        Self { heard_after_ms, answered_after_ms, refused, done: tally.done.percentiles() }
    }
}

impl OverloadReport {
    pub(super) fn new(
        options: &Options,
        tally: &Tally,
        took: Duration,
        most_at_once: usize,
        back: Option<Back>,
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
            without_retry_after: tally.hopeless,
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
        for (what, latency) in latencies {
            if let Some(latency) = latency {
                writeln!(f, "{what}: {latency}")?;
            }
        }
        writeln!(f, "without retry_after_ms: {}", self.without_retry_after)?;
        writeln!(f, "at once at the model: {} of {}", self.most_at_once, self.slots)?;
        let Some(Back { heard_after_ms, answered_after_ms, refused, done }) = &self.back else {
            return writeln!(f, "when it was over nobody was heard");
        };
        writeln!(
            f,
            "when it was over: heard after {heard_after_ms:.0} ms ({refused} refused before), answered after {answered_after_ms:.0} ms"
        )?;
        done.map_or(Ok(()), |done| writeln!(f, "from then on done: {done}"))
    }
}
