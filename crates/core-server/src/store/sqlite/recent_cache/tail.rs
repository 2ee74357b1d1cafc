//! The end of one session.

use std::collections::VecDeque;

use protocol::server_frame::{Entry, Help};

use crate::store::{Recent, Summary};

/// What a text takes besides its bytes, about: what the allocator keeps and rounds up.
const ALLOCATION_BYTES: usize = 16;

/// The last entries of a session, without a gap, and its summary.
#[derive(Debug)]
pub(super) struct CachedTail {
    summary: Option<Summary>,
    /// At least one, at most `kept`.
    entries: VecDeque<Entry>,
    /// As many as were asked for.
    capacity: usize,
    /// Whether there are no more before `entries`.
    complete: bool,
}

impl CachedTail {
    /// What was read of a session, asked for `limit` entries. `None` without entries: it would not
    /// be known which comes next.
    pub(super) fn new(recent: &Recent, limit: usize) -> Option<Self> {
        let entries: VecDeque<Entry> = recent.entries.iter().cloned().collect();
        let complete = entries.len() < limit;
        (!entries.is_empty()).then(|| Self { summary: recent.summary.clone(), entries, capacity: limit, complete })
    }

    /// The last `limit` entries, if they are here, or all if there are no more.
    pub(super) fn recent(&self, limit: usize) -> Option<Recent> {
        if self.entries.len() < limit && !self.complete {
            return None;
        }
        let before = self.entries.len().saturating_sub(limit);
        Some(Recent { summary: self.summary.clone(), entries: self.entries.range(before..).cloned().collect() })
    }

    /// Adds `entry`, which may be here already. Says whether this is the session's end now: it is
    /// not if one between is missing.
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

    /// Takes `summary` in place of one that goes less far, as the table does.
    pub(super) fn set_summary(&mut self, summary: &Summary) {
        if self.summary.as_ref().is_none_or(|known| known.last < summary.last) {
            self.summary = Some(summary.clone());
        }
    }

    /// What it takes, in bytes, about.
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
