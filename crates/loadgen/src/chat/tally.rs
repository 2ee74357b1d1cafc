//! What is counted while people chat.

use std::collections::BTreeMap;

use crate::stats::Latency;

/// Counts and latencies of all people together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Turns that were answered.
    pub(crate) turns: u64,
    /// Deltas that came.
    pub(crate) chunks: u64,
    /// Turns that failed, by code.
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) accepted: Latency,
    pub(crate) first: Latency,
    pub(crate) done: Latency,
    /// To an error that refused the message.
    pub(crate) refused: Latency,
    /// Refusals that did not say when to come back.
    pub(crate) hopeless: u64,
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
