//! The result of a chat run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::chat::Options;
use crate::chat::tally::Tally;
use crate::disk::Floor;
use crate::observed::Cost;
use crate::stats::{Percentiles, rate};

/// What a chat run measured. Latencies count from when a message was due.
#[derive(Debug, Clone, Serialize)]
pub struct ChatReport {
    /// How many people there were.
    pub people: usize,
    /// Turns that were answered.
    pub turns: u64,
    /// From the first message to the last answer.
    pub seconds: f64,
    /// Answered turns per second.
    pub turns_per_second: f64,
    /// Deltas that came.
    pub chunks: u64,
    /// Deltas per second.
    pub chunks_per_second: f64,
    /// Turns that failed, by error code; also `connection_lost` and `no_answer`.
    pub errors: BTreeMap<String, u64>,
    /// To `accepted`.
    pub accepted: Option<Percentiles>,
    /// To the first `delta`.
    pub first: Option<Percentiles>,
    /// To `done`; in the plain face to the answer's line.
    pub done: Option<Percentiles>,
    /// Of the processes watched, per answered turn.
    pub costs: Vec<Cost>,
    /// What the disk takes that `accepted` waits for, if it was measured.
    pub disk: Option<Floor>,
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
        if let Some(floor) = &self.disk {
            writeln!(f, "disk: {floor}")?;
        }
        for (name, latency) in [("accepted", self.accepted), ("first delta", self.first), ("done", self.done)] {
            if let Some(latency) = latency {
                writeln!(f, "{name}: {latency}")?;
            }
        }
        self.costs.iter().try_for_each(|cost| writeln!(f, "{cost}"))
    }
}
