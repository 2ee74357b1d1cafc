//! Report of a chat run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::chat::Options;
use crate::chat::tally::Tally;
use crate::disk::DiskBaseline;
use crate::stats::{Percentiles, rate};
use crate::watched_process::Cost;

/// Results of a chat run. Latencies count from the time a message was due.
#[derive(Debug, Clone, Serialize)]
pub struct ChatReport {
    /// Number of users.
    pub people: usize,
    /// Answered turns.
    pub turns: u64,
    /// Time from the first message to the last answer.
    pub seconds: f64,
    /// Answered turns per second.
    pub turns_per_second: f64,
    /// Deltas received.
    pub chunks: u64,
    /// Deltas per second.
    pub chunks_per_second: f64,
    /// Failed turns by error code; also `connection_lost` and `no_answer`.
    pub errors: BTreeMap<String, u64>,
    /// Latency of `accepted`.
    pub accepted: Option<Percentiles>,
    /// Latency of the first `delta`.
    pub first: Option<Percentiles>,
    /// Latency of `done`; in the plain face, of the answer's line.
    pub done: Option<Percentiles>,
    /// Resources of each measured process per answered turn.
    pub costs: Vec<Cost>,
    /// Baseline of the disk that `accepted` waits for, if measured.
    pub disk: Option<DiskBaseline>,
}

impl ChatReport {
    pub(super) fn new(options: &Options, tally: &Tally, elapsed: Duration, costs: Vec<Cost>) -> Self {
        Self {
            people: options.people,
            turns: tally.turns,
            seconds: elapsed.as_secs_f64(),
            turns_per_second: rate(tally.turns, elapsed),
            chunks: tally.chunks,
            chunks_per_second: rate(tally.chunks, elapsed),
            errors: tally.errors.clone(),
            accepted: tally.accepted.percentiles(),
            first: tally.first.percentiles(),
            done: tally.done.percentiles(),
            costs,
            disk: None,
        }
    }
}

impl fmt::Display for ChatReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { people, turns, seconds, turns_per_second, chunks, chunks_per_second, .. } = self;
        writeln!(f, "{people} people, {turns} turns in {seconds:.2} s: {turns_per_second:.0} turns/s")?;
        writeln!(f, "{chunks} chunks: {chunks_per_second:.0} chunks/s")?;
        for (code, count) in &self.errors {
            writeln!(f, "error {code}: {count}")?;
        }
        if let Some(baseline) = &self.disk {
            writeln!(f, "disk: {baseline}")?;
        }
        for (name, latency) in [("accepted", self.accepted), ("first delta", self.first), ("done", self.done)] {
            if let Some(latency) = latency {
                writeln!(f, "{name}: {latency}")?;
            }
        }
        self.costs.iter().try_for_each(|cost| writeln!(f, "{cost}"))
    }
}
