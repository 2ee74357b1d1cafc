//! Counters of a chat run.

use std::collections::BTreeMap;

use crate::stats::Latency;

/// Counts and latencies of all users together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answered turns.
    pub(crate) turns: u64,
    /// Deltas received.
    pub(crate) chunks: u64,
    /// Failed turns, by code.
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) accepted: Latency,
    pub(crate) first: Latency,
    pub(crate) done: Latency,
    /// Latency of refusals.
    pub(crate) refused: Latency,
    /// Refusals without `retry_after_ms`.
    pub(crate) without_retry_after: u64,
}

impl Tally {
    pub(crate) fn error(&mut self, code: &str) {
        match self.errors.get_mut(code) {
            Some(count) => *count += 1,
            None => {
                self.errors.insert(code.to_owned(), 1);
            }
        }
    }
}
