//! What is counted while people chat.

use std::collections::BTreeMap;

use crate::stats::Latency;

/// Counts and latencies of all people together.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Turns that were answered.
    pub(super) turns: u64,
    /// Deltas that came.
    pub(super) chunks: u64,
    /// Turns that failed, by code.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) accepted: Latency,
    pub(super) first: Latency,
    pub(super) done: Latency,
}

impl Tally {
    pub(super) fn error(&mut self, code: &str) {
        match self.errors.get_mut(code) {
            Some(count) => *count += 1,
            None => {
                self.errors.insert(code.to_owned(), 1);
            }
        }
    }
}
