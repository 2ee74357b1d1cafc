//! Stored entries of a session, as clients read them.

use std::sync::Arc;

use protocol::UserText;
use protocol::server_frame::Entry;
use store::{Page, ReadableEntries, StoreError};

use super::{LiveSession, SessionError};
use crate::turn::now;

/// Entries of a session in the store. Reading never waits for an operation of the session.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    session: &'a Arc<LiveSession>,
}

impl<'a> History<'a> {
    pub(super) fn of(session: &'a Arc<LiveSession>) -> Self {
        Self { session }
    }

    /// Returns the entries of a page without its last row in reading direction, and true if that row exists: there are
    /// more. Entries that cannot be decrypted are omitted. A page of nothing else is skipped, because its reader would
    /// have no `seq` to continue from.
    pub(super) async fn whole_page(self, mut page: Page) -> Result<(Vec<Entry>, bool), SessionError> {
        loop {
            let found = self.readable(page).await?;
            let (beyond, next) = match page {
                Page::After { limit, .. } if limit <= found.rows() => {
                    let last = found.last_seq();
                    (last, last.map(|seq| Page::After { seq: seq.saturating_sub(1), limit }))
                }
                Page::Before { limit, .. } if limit <= found.rows() => {
                    let first = found.first_seq();
                    (first, first.map(|seq| Page::Before { seq: seq.saturating_add(1), limit }))
                }
                Page::After { .. } | Page::Before { .. } => (None, None),
            };
            let mut entries = found.entries;
            entries.retain(|entry| Some(entry.seq) != beyond);
            match next {
                Some(next) if entries.is_empty() => page = next,
                _ => return Ok((entries, beyond.is_some())),
            }
        }
    }

    /// Returns the last `limit` entries, oldest first, without those that cannot be decrypted.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn last(self, limit: usize) -> Result<Vec<Entry>, SessionError> {
        Ok(self.readable(Page::Before { seq: u64::MAX, limit }).await?.entries)
    }

    /// Returns up to `limit` entries after `seq`. Those that cannot be decrypted are omitted: a replay that failed each
    /// time would make the client reconnect for ever.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn after(self, seq: u64, limit: usize) -> Result<ReadableEntries, SessionError> {
        self.readable(Page::After { seq, limit }).await
    }

    /// [`History::last`], with help as its line of the plain face.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn last_with_help(self, limit: usize) -> Result<Vec<Entry>, SessionError> {
        let mut entries = self.last(limit).await?;
        for entry in &mut entries {
            if let Some(help) = &entry.help {
                entry.text = UserText::new(self.session.help_line(help));
            }
        }
        Ok(entries)
    }

    /// Returns a page of entries, with the current help lines.
    async fn readable(self, page: Page) -> Result<ReadableEntries, SessionError> {
        let mut found = self.page(page).await?;
        let (now, cell) = (now(), self.session.cell());
        found.entries.iter_mut().for_each(|entry| cell.session.help_lines().attach(entry, now));
        Ok(found)
    }

    /// Reads a page of entries. Ends the session if the store no longer has it.
    pub(super) async fn page(self, page: Page) -> Result<ReadableEntries, StoreError> {
        let session = self.session;
        session.end_if_missing(session.sessions.turns().store.readable_entries(session.user(), page).await)
    }
}
