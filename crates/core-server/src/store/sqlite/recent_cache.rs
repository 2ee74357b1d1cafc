//! The ends of the sessions in use, so that a turn need not read what was just written.
//!
//! The thread that writes notes every change here: in the order of the commits, after the commit
//! and before whoever asked is told. So whoever was told finds it here, and nothing is here that
//! was not committed. A read that goes on meanwhile may be older than a note: it is remembered only
//! if nothing was noted of its session since it began ([`Reading`]). Where a note says what is
//! there already, because the read came after the commit and before the note, nothing changes.

mod tail;

use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;
use protocol::UserLabel;
use protocol::server_frame::Entry;

use crate::store::{Recent, Summary};
use tail::CachedTail;

/// What all that is remembered may take: 8 MiB, about 1,200 sessions of 21 entries of 200 letters.
/// Beside the goal of 9 KB for each of 9,000 people on one core that is a tenth, and nothing as long
/// as they only sit there. A session more than fits costs a read a turn, as all did before.
pub(super) const MAX_CACHE_BYTES: usize = 8 << 20;

/// What is remembered: of sessions that did not come up for longest, nothing, once there is no room.
#[derive(Debug)]
pub(super) struct RecentHistoryCache {
    max_bytes: usize,
    state: Mutex<CacheState>,
}

#[derive(Debug)]
struct CacheState {
    /// Least recently used first.
    by_user: LruCache<UserLabel, CachedTail>,
    /// What they take together.
    bytes: usize,
    /// Reads under way that may still be remembered: the last of each session.
    reads: HashMap<UserLabel, ReadId>,
    last_read: ReadId,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ReadId(u64);

/// A read under way, from before it looks at the database.
#[derive(Debug)]
pub(super) struct PendingRead<'a> {
    cache: &'a RecentHistoryCache,
    user: UserLabel,
    number: ReadId,
}

impl RecentHistoryCache {
    /// Nothing yet, and at most `room_bytes`.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, state: Mutex::default() }
    }

    /// The last `limit` entries of the session and its summary, if all that is remembered.
    pub(super) fn recent(&self, user: UserLabel, limit: usize) -> Option<Recent> {
        self.state().by_user.get(&user)?.recent(limit)
    }

    /// To be called before the database is read.
    pub(super) fn begin_read(&self, user: UserLabel) -> PendingRead<'_> {
        let mut state = self.state();
        state.last_read.0 += 1;
        let number = state.last_read;
        state.reads.insert(user, number);
        PendingRead { cache: self, user, number }
    }

    /// Notes that `entry` was appended.
    pub(super) fn appended(&self, user: UserLabel, entry: &Entry) {
        self.note(user, |tail| tail.append(entry));
    }

    /// Notes that the session has this summary now.
    pub(super) fn summarized_up_to(&self, user: UserLabel, summary: &Summary) {
        self.note(user, |tail| {
            tail.set_summary(summary);
            true
        });
    }

    /// Notes that the session is gone.
    pub(super) fn evict(&self, user: UserLabel) {
        self.note(user, |_| false);
    }

    /// Notes that any session may have changed.
    pub(super) fn clear(&self) {
        let mut state = self.state();
        state.reads.clear();
        state.bytes = 0;
        let gone = mem::replace(&mut state.by_user, LruCache::new_unbounded());
        drop(state);
        // Thousands of texts: nobody waits for the lock meanwhile.
        drop(gone);
    }

    /// Corrects what is remembered of a session with `correct`, which says whether it is right
    /// now; what is not is forgotten.
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
        // Nothing below panics between two changes that belong together.
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
    /// Remembers what was read, asked for `limit` entries; not if anything was noted since.
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
