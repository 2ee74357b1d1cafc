//! Replay of missed entries, page by page, before live frames.

use std::sync::Arc;

use protocol::limits::MAX_REPLAY_ENTRIES;
use protocol::{CloseReason, ServerFrame};
use store::ReadableEntries;

use super::{Frames, Phase, Welcomed};
use crate::connection::completion::Completion;
use crate::connection::link::Link;
use crate::connection::mode::PreSession;
use crate::sessions::SessionError;

/// Page size, in entries: bounds the memory of one replay.
const PAGE: usize = 50;

/// Entries to replay: `after` < `seq` <= `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::connection) struct Replay {
    after: u64,
    last: u64,
}

impl Replay {
    /// Plans the replay of the newest entries after `since`, none without it, in a session whose newest entry is `seq`.
    pub(super) fn new(since: Option<u64>, seq: u64) -> Self {
        let oldest = seq.saturating_sub(MAX_REPLAY_ENTRIES as u64);
        Self { after: since.unwrap_or(seq).min(seq).max(oldest), last: seq }
    }

    /// Returns the number of entries after `since` that are not replayed, without those up to `swept`, which retention
    /// has removed.
    pub(super) fn missed(self, since: Option<u64>, swept: u64) -> u64 {
        let since = since.unwrap_or(self.last).min(self.last);
        self.after.saturating_sub(since.max(swept))
    }

    /// Returns the replay if it has entries left.
    pub(super) fn pending(self) -> Option<Self> {
        (self.after < self.last).then_some(self)
    }

    /// Returns the rest behind `page`; `None` at the end, and for a page that is empty.
    fn behind(self, page: &ReadableEntries) -> Option<Self> {
        // Also past entries that cannot be decrypted, which are left out.
        let after = page.last_seq().unwrap_or(self.after).min(self.last);
        Self { after, ..self }.pending().filter(|rest| self.after < rest.after)
    }
}

impl Frames {
    pub(in crate::connection) fn replay(&self) -> Option<Replay> {
        match &self.phase {
            Phase::Welcomed(welcomed) => welcomed.replay,
            Phase::BeforeWelcome(_) => None,
        }
    }

    /// Reads the next page, unless a task is running: its completion comes back here.
    pub(in crate::connection) fn continue_replay(&self, link: &mut Link) {
        if let Phase::Welcomed(welcomed) = &self.phase
            && link.work.is_none()
        {
            welcomed.read_page(link);
        }
    }

    pub(in crate::connection) fn on_replay_page(
        &mut self,
        replay: Replay,
        page: Result<ReadableEntries, SessionError>,
        link: &mut Link,
    ) {
        match (page, &mut self.phase) {
            (Ok(page), Phase::Welcomed(welcomed)) => welcomed.on_page(replay, page, link),
            (Ok(_), Phase::BeforeWelcome(_)) => {}
            (Err(error), _) => {
                // Live frames must not follow the gap: the client would take them for the next entries.
                self.phase = Phase::BeforeWelcome(PreSession::new(self.language()));
                link.writer.abandon_outbox();
                link.closing = Some(match error {
                    SessionError::Gone => CloseReason::Erased,
                    error => {
                        link.in_span(|| tracing::error!(%error, "replay failed"));
                        CloseReason::Internal
                    }
                });
            }
        }
    }
}

impl Welcomed {
    fn read_page(&self, link: &mut Link) {
        let Some(replay) = self.replay else { return };
        let session = Arc::clone(&self.attached.session);
        link.spawn(async move {
            let page = session.history().after(replay.after, PAGE).await;
            Completion::ReplayPage { replay, page }
        });
    }

    fn on_page(&mut self, replay: Replay, page: ReadableEntries, link: &mut Link) {
        self.replay = replay.behind(&page);
        let entries = page.entries.into_iter().map(|entry| (entry.seq, ServerFrame::Turn(entry)));
        let forgotten = page.tombstones.into_iter().map(|it| (it.forgotten.seq, ServerFrame::Forgotten(it.forgotten)));
        let mut frames: Vec<_> = entries.chain(forgotten).filter(|(seq, _)| *seq <= replay.last).collect();
        frames.sort_by_key(|(seq, _)| *seq);
        frames.iter().for_each(|(_, frame)| link.writer.write_frame(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = MAX_REPLAY_ENTRIES as u64;

    #[test]
    fn replays_newest_entries_after_since() {
        // (since, seq, swept): (after, missed)
        for ((since, seq, swept), want) in [
            ((None, 0, 0), (0, 0)),
            ((None, 9, 0), (9, 0)),
            ((Some(0), 9, 0), (0, 0)),
            ((Some(4), 9, 0), (4, 0)),
            ((Some(9), 9, 0), (9, 0)),
            ((Some(12), 9, 0), (9, 0)),
            ((Some(0), MAX, 0), (0, 0)),
            ((Some(0), MAX + 7, 0), (7, 7)),
            ((Some(3), MAX + 7, 0), (7, 4)),
            ((Some(3), MAX + 7, 5), (7, 2)),
            ((Some(3), MAX + 7, MAX), (7, 0)),
        ] {
            let replay = Replay::new(since, seq);
            assert_eq!((replay.after, replay.missed(since, swept)), want, "{since:?} of {seq}, {swept} swept");
            assert_eq!(replay.pending().is_some(), replay.after < seq);
        }
    }

    #[test]
    fn continues_behind_each_page() {
        let page =
            |unreadable: &[u64]| ReadableEntries { unreadable: unreadable.to_vec(), ..ReadableEntries::default() };
        let replay = Replay { after: 3, last: 9 };
        for (seqs, want) in [
            (&[4, 5][..], Some(Replay { after: 5, last: 9 })),
            (&[8, 9], None),
            // Entries that were stored since.
            (&[9, 10], None),
            // Swept since: an empty page must not be read for ever.
            (&[], None),
        ] {
            assert_eq!(replay.behind(&page(seqs)), want, "{seqs:?}");
        }
    }
}
