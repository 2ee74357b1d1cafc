//! Reads the memory of risk from stored messages.

use session::{Watch, is_imminent_help, restore_after};
use store::{Page, ReadableEntries, StoreError};

use super::history::History;

/// Page size of the reads, and the most pages searched backwards for imminent risk: about 100 messages a day for two
/// months. A scan, because sealed entries have no index.
const PAGE_ENTRIES: usize = 500;
const MAX_PAGES: usize = 24;

impl History<'_> {
    /// Reads the memory of risk. `seq`: the session's newest one.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub(super) async fn read_watch(self, seq: u64) -> Result<Watch, StoreError> {
        let newest = self.page(Page::Before { seq: seq.saturating_add(1), limit: PAGE_ENTRIES }).await?;
        let mut after = restore_after(self.newest_imminent_help(&newest).await?, seq);
        let mut restored = Watch::of_new();
        let first = newest.first_seq().filter(|_| PAGE_ENTRIES <= newest.rows()).unwrap_or_default();
        // Page by page, which bounds the memory for a long conversation.
        while after.saturating_add(1) < first {
            let page = self.page(Page::After { seq: after, limit: PAGE_ENTRIES }).await?;
            let Some(last) = page.last_seq() else { break };
            page.entries.iter().filter(|entry| entry.seq < first).for_each(|entry| restored.learn(entry));
            after = last.min(first.saturating_sub(1));
        }
        newest.entries.iter().filter(|entry| after < entry.seq).for_each(|entry| restored.learn(entry));
        Ok(restored)
    }

    /// Returns the `seq` of the newest help for imminent risk, in the `newest` page of entries or before it.
    async fn newest_imminent_help(self, newest: &ReadableEntries) -> Result<Option<u64>, StoreError> {
        let find = |page: &ReadableEntries| {
            page.entries.iter().rev().find(|entry| is_imminent_help(entry)).map(|help| help.seq)
        };
        let older = |page: &ReadableEntries| page.first_seq().filter(|_| PAGE_ENTRIES <= page.rows());
        let (mut found, mut before) = (find(newest), older(newest));
        for _ in 1..MAX_PAGES {
            let Some(seq) = before.filter(|_| found.is_none()) else { break };
            let page = self.page(Page::Before { seq, limit: PAGE_ENTRIES }).await?;
            (found, before) = (find(&page), older(&page));
        }
        Ok(found)
    }
}
