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
use tail::Tail;

/// What all that is remembered may take: 8 MiB, about 1,200 sessions of 21 entries of 200 letters.
/// Beside the goal of 9 KB for each of 9,000 people on one core that is a tenth, and nothing as long
/// as they only sit there. A session more than fits costs a read a turn, as all did before.
pub(super) const ROOM_BYTES: usize = 8 << 20;

/// What is remembered: of sessions that did not come up for longest, nothing, once there is no room.
#[derive(Debug)]
pub(super) struct Remembered {
    room_bytes: usize,
    tails: Mutex<Tails>,
}

#[derive(Debug)]
struct Tails {
    /// Least recently used first.
    by_user: LruCache<UserLabel, Tail>,
    /// What they take together.
    bytes: usize,
    /// Reads under way that may still be remembered: the last of each session.
    reads: HashMap<UserLabel, ReadNumber>,
    last_read: ReadNumber,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct ReadNumber(u64);

/// A read under way, from before it looks at the database.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    remembered: &'a Remembered,
    user: UserLabel,
    number: ReadNumber,
}

impl Remembered {
    /// Nothing yet, and at most `room_bytes`.
    pub(super) fn new(room_bytes: usize) -> Self {
        Self { room_bytes, tails: Mutex::default() }
    }

    /// The last `limit` entries of the session and its summary, if all that is remembered.
    pub(super) fn recent(&self, user: UserLabel, limit: usize) -> Option<Recent> {
        self.tails().by_user.get(&user)?.recent(limit)
    }

    /// To be called before the database is read.
    pub(super) fn reading(&self, user: UserLabel) -> Reading<'_> {
        let mut tails = self.tails();
        tails.last_read.0 += 1;
        let number = tails.last_read;
        tails.reads.insert(user, number);
        Reading { remembered: self, user, number }
    }

    /// Notes that `entry` was appended.
    pub(super) fn appended(&self, user: UserLabel, entry: &Entry) {
        self.note(user, |tail| tail.append(entry));
    }

    /// Notes that the session has this summary now.
    pub(super) fn summed_up(&self, user: UserLabel, summary: &Summary) {
        self.note(user, |tail| {
            tail.sum_up(summary);
            true
        });
    }

    /// Notes that the session is gone.
    pub(super) fn forget(&self, user: UserLabel) {
        self.note(user, |_| false);
    }

    /// Notes that any session may have changed.
    pub(super) fn forget_all(&self) {
        let mut tails = self.tails();
        tails.reads.clear();
        tails.bytes = 0;
        let gone = mem::replace(&mut tails.by_user, LruCache::new_unbounded());
        drop(tails);
        // Thousands of texts: nobody waits for the lock meanwhile.
        drop(gone);
    }

    /// Corrects what is remembered of a session with `correct`, which says whether it is right
    /// now; what is not is forgotten.
    fn note(&self, user: UserLabel, correct: impl FnOnce(&mut Tail) -> bool) {
        let mut tails = self.tails();
        tails.reads.remove(&user);
        let Some(tail) = tails.by_user.get_mut(&user) else { return };
        let before = tail.bytes();
        let right = correct(tail);
        let after = tail.bytes();
        tails.bytes = tails.bytes - before + after;
        if !right {
            tails.remove(user);
        }
        tails.make_room(self.room_bytes);
    }

    fn tails(&self) -> MutexGuard<'_, Tails> {
        // Nothing below panics between two changes that belong together.
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Tails {
    fn default() -> Self {
        let by_user = LruCache::new_unbounded();
        Self { by_user, bytes: 0, reads: HashMap::new(), last_read: ReadNumber::default() }
    }
}

impl Tails {
    fn insert(&mut self, user: UserLabel, tail: Tail) {
        self.remove(user);
        self.bytes += tail.bytes();
        self.by_user.insert(user, tail);
    }

    fn remove(&mut self, user: UserLabel) {
        self.bytes -= self.by_user.remove(&user).map_or(0, |tail| tail.bytes());
    }

    fn make_room(&mut self, room_bytes: usize) {
        while room_bytes < self.bytes {
            let Some((_, tail)) = self.by_user.remove_lru() else { return };
            self.bytes -= tail.bytes();
        }
    }
}

impl Reading<'_> {
    /// Remembers what was read, asked for `limit` entries; not if anything was noted since.
    pub(super) fn remember(self, recent: &Recent, limit: usize) {
        let mut tails = self.remembered.tails();
        if tails.reads.get(&self.user) != Some(&self.number) {
            return;
        }
        if let Some(tail) = Tail::new(recent, limit) {
            tails.insert(self.user, tail);
            tails.make_room(self.remembered.room_bytes);
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut tails = self.remembered.tails();
        if tails.reads.get(&self.user) == Some(&self.number) {
            tails.reads.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests;
