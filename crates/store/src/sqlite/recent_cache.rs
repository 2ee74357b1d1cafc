//! LRU cache of recent history, so that a turn does not read back entries just written.
//!
//! The writer thread applies every change to the cache in commit order, after the commit and before its
//! caller returns: a caller finds its own write, and nothing uncommitted is cached. A concurrent read may
//! be older than a change: its result is stored only if the session has not changed since the read began
//! ([`PendingRead`]). A read that ran between a commit and its cache update already has the change;
//! applying it again has no effect.

mod tail;

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;
use protocol::UserLabel;
use protocol::server_frame::Entry;

use crate::model::{Recent, Summary};
use tail::CachedTail;

/// Capacity of 8 MiB: about 1,200 sessions of 21 entries of 200 letters. That is a tenth of the memory goal
/// of 9 KB for each of 9,000 people on one core. A session beyond it costs one read per turn.
pub(super) const MAX_CACHE_BYTES: usize = 8 << 20;

/// LRU cache of recent history, bounded by [`MAX_CACHE_BYTES`].
#[derive(Debug)]
pub(super) struct RecentHistoryCache {
    max_bytes: usize,
    state: Mutex<CacheState>,
}

#[derive(Debug)]
struct CacheState {
    /// Least recently used first.
    by_user: LruCache<UserLabel, CachedTail>,
    /// Sum of [`CachedTail::bytes`].
    bytes: usize,
    /// Pending reads whose result may be stored: the latest of each session.
    reads: HashMap<UserLabel, ReadId>,
    last_read: ReadId,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ReadId(u64);

/// Registration of a read, begun before its query runs.
#[derive(Debug)]
pub(super) struct PendingRead<'a> {
    cache: &'a RecentHistoryCache,
    user: UserLabel,
    number: ReadId,
}

impl RecentHistoryCache {
    /// Creates an empty cache of at most `max_bytes`.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, state: Mutex::default() }
    }

    /// Returns the last `limit` entries and the summary, if all of them are cached.
    pub(super) fn recent(&self, user: UserLabel, limit: usize) -> Option<Recent> {
        self.state().by_user.get(&user)?.recent(limit)
    }

    /// Registers a read. Must be called before its query: a change in between then invalidates the result.
    pub(super) fn begin_read(&self, user: UserLabel) -> PendingRead<'_> {
        let mut state = self.state();
        state.last_read.0 += 1;
        let number = state.last_read;
        state.reads.insert(user, number);
        PendingRead { cache: self, user, number }
    }

    /// Applies an append.
    pub(super) fn appended(&self, user: UserLabel, entry: &Entry) {
        self.note(user, |tail| tail.append(entry));
    }

    /// Applies a new summary.
    pub(super) fn summarized_up_to(&self, user: UserLabel, summary: &Summary) {
        self.note(user, |tail| {
            tail.set_summary(summary);
            true
        });
    }

    /// Evicts a session, because entries or its summary were removed.
    pub(super) fn evict(&self, user: UserLabel) {
        self.note(user, |_| false);
    }

    /// Evicts everything, because any session may have changed.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.reads.clear();
        state.bytes = 0;
        let gone = mem::replace(&mut state.by_user, LruCache::new_unbounded());
        drop(state);
        // Freed outside of the lock: thousands of texts take time.
        drop(gone);
    }

    /// Applies `correct` to a cached session, which is evicted unless it returns true.
    fn note(&self, user: UserLabel, correct: impl FnOnce(&mut CachedTail) -> bool) {
        let mut state = self.state();
        state.reads.remove(&user);
        let Some(tail) = state.by_user.get_mut(&user) else { return };
        let before = tail.bytes();
        let right = correct(tail);
        let after = tail.bytes();
        state.bytes = state.bytes - before + after;
        if !right {
            state.remove(user);
        }
        state.evict_to_fit(self.max_bytes);
    }

    fn state(&self) -> MutexGuard<'_, CacheState> {
        // Poisoning is ignored: nothing below panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for CacheState {
    fn default() -> Self {
        let by_user = LruCache::new_unbounded();
        Self { by_user, bytes: 0, reads: HashMap::new(), last_read: ReadId::default() }
    }
}

impl CacheState {
    fn insert(&mut self, user: UserLabel, tail: CachedTail) {
        self.remove(user);
        self.bytes += tail.bytes();
        self.by_user.insert(user, tail);
    }

    fn remove(&mut self, user: UserLabel) {
        self.bytes -= self.by_user.remove(&user).map_or(0, |tail| tail.bytes());
    }

    fn evict_to_fit(&mut self, max_bytes: usize) {
        while max_bytes < self.bytes {
            let Some((_, tail)) = self.by_user.remove_lru() else { return };
            self.bytes -= tail.bytes();
        }
    }
}

impl PendingRead<'_> {
    /// Stores the result of a query for `limit` entries, unless the session has changed since it began.
    pub(super) fn store(self, recent: &Recent, limit: usize) {
        let mut state = self.cache.state();
        if state.reads.get(&self.user) != Some(&self.number) {
            return;
        }
        if let Some(tail) = CachedTail::new(recent, limit) {
            state.insert(self.user, tail);
            state.evict_to_fit(self.cache.max_bytes);
        }
    }
}

impl Drop for PendingRead<'_> {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        if state.reads.get(&self.user) == Some(&self.number) {
            state.reads.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests;
