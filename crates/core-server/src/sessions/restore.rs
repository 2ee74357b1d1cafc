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
            learn(&mut restored, &page, |seq| seq < first);
            after = last.min(first.saturating_sub(1));
        }
        learn(&mut restored, &newest, |seq| after < seq);
        Ok(restored)
    }

    /// Returns the `seq` of the newest help for imminent risk, in the `newest` page of entries or before it.
    async fn newest_imminent_help(self, newest: &ReadableEntries) -> Result<Option<u64>, StoreError> {
        let find = |page: &ReadableEntries| {
            let helps = page.entries.iter().map(|entry| (entry.seq, entry.help.as_deref()));
            let kept = page.tombstones.iter().map(|tombstone| (tombstone.forgotten.seq, tombstone.help.as_deref()));
            helps.chain(kept).filter(|(_, help)| is_imminent_help(*help)).map(|(seq, _)| seq).max()
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

/// Applies the rows of a page that `is_wanted` selects by their `seq`, in their order.
fn learn(watch: &mut Watch, page: &ReadableEntries, is_wanted: impl Fn(u64) -> bool) {
    let mut tombstones = page.tombstones.iter().filter(|tombstone| is_wanted(tombstone.forgotten.seq)).peekable();
    let mut learn_before = |watch: &mut Watch, seq: u64| {
        while let Some(tombstone) = tombstones.next_if(|tombstone| tombstone.forgotten.seq < seq) {
            tombstone.help.iter().for_each(|help| watch.learn_forgotten(help, tombstone.at));
        }
    };
    for entry in page.entries.iter().filter(|entry| is_wanted(entry.seq)) {
        learn_before(watch, entry.seq);
        watch.learn(entry);
    }
    learn_before(watch, u64::MAX);
}
