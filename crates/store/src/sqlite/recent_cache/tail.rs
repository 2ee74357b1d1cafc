//! Cached history of one session.

use std::collections::VecDeque;

use protocol::server_frame::{Entry, Help};

use crate::model::{Recent, Summary};

/// Approximate allocator overhead of a text.
const ALLOCATION_BYTES: usize = 16;

/// Latest entries of a session, without a gap, and its summary.
#[derive(Debug)]
pub(super) struct CachedTail {
    summary: Option<Summary>,
    /// At least one, at most `capacity`.
    entries: VecDeque<Entry>,
    /// Number of entries requested by the read that filled it.
    capacity: usize,
    /// True if `entries` begins with the session's first entry.
    complete: bool,
}

impl CachedTail {
    /// Caches the result of a query for `limit` entries. `None` without entries: the next `seq` is unknown.
    pub(super) fn new(recent: &Recent, limit: usize) -> Option<Self> {
        let entries: VecDeque<Entry> = recent.entries.iter().cloned().collect();
        let complete = entries.len() < limit;
        (!entries.is_empty()).then(|| Self { summary: recent.summary.clone(), entries, capacity: limit, complete })
    }

    /// Returns the last `limit` entries, or all if the session has no more; `None` if some are not cached.
    pub(super) fn recent(&self, limit: usize) -> Option<Recent> {
        if self.entries.len() < limit && !self.complete {
            return None;
        }
        let before = self.entries.len().saturating_sub(limit);
        Some(Recent { summary: self.summary.clone(), entries: self.entries.range(before..).cloned().collect() })
    }

    /// Adds `entry`, unless it is cached already. Returns false if an entry before it is missing.
    pub(super) fn append(&mut self, entry: &Entry) -> bool {
        let last = self.entries.back().map_or(0, |last| last.seq);
        if entry.seq <= last {
            return true;
        }
        if entry.seq != last + 1 {
            return false;
        }
        if self.entries.len() == self.capacity {
            self.entries.pop_front();
            self.complete = false;
        }
        self.entries.push_back(entry.clone());
        true
    }

    /// Replaces a summary that reaches less far, as the table does.
    pub(super) fn set_summary(&mut self, summary: &Summary) {
        if self.summary.as_ref().is_none_or(|known| known.last < summary.last) {
            self.summary = Some(summary.clone());
        }
    }

    /// Approximate memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let help = |entry: &Entry| entry.help.as_ref().map_or(0, |_| ALLOCATION_BYTES + size_of::<Help>());
        let texts = |entry: &Entry| text_bytes(entry.id.as_str()) + text_bytes(entry.text.expose());
        let entries = self.entries.iter().map(|entry| texts(entry) + help(entry));
        let summary = self.summary.as_ref().map_or(0, |summary| text_bytes(summary.text.expose()));
        size_of::<Self>() + self.entries.capacity() * size_of::<Entry>() + summary + entries.sum::<usize>()
    }
}

fn text_bytes(text: &str) -> usize {
    ALLOCATION_BYTES + text.len()
}
