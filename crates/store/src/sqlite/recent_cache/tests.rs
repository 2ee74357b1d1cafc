//! The cache equals the database in any order of commits, cache updates and reads.

mod model;

use std::slice;

use protocol::server_frame::Role;
use protocol::{Timestamp, UserText};

use super::*;

const CAPACITY: usize = 100_000;
const ONE: UserLabel = UserLabel(1);
const TWO: UserLabel = UserLabel(2);

fn entry(seq: u64) -> Entry {
    Entry {
        seq,
        id: format!("m{seq}").parse().unwrap(),
        role: Role::User,
        text: UserText::new(format!("entrada {seq}")),
        at: Timestamp::from_unix_ms(0),
        finish: None,
        source: None,
        help: None,
    }
}

fn summary(last: u64) -> Summary {
    Summary { first: 1, last, text: UserText::new(format!("hasta {last}")) }
}

fn recent(seqs: std::ops::RangeInclusive<u64>) -> Recent {
    Recent { summary: None, entries: seqs.map(entry).collect() }
}

/// Caches `seqs` as the result of a query for `limit` entries.
fn fill(cache: &RecentHistoryCache, user: UserLabel, seqs: std::ops::RangeInclusive<u64>, limit: usize) {
    cache.begin_read(user).store(&recent(seqs), limit);
}

fn holds(cache: &RecentHistoryCache, user: UserLabel) -> bool {
    cache.state().by_user.peek(&user).is_some()
}

#[test]
fn returns_read_and_later_appended_entries() {
    let cache = RecentHistoryCache::new(CAPACITY);
    assert_eq!(cache.recent(ONE, 3), None);
    fill(&cache, ONE, 1..=2, 3);
    // The session has no more entries: any limit is a hit.
    assert_eq!(cache.recent(ONE, 99), Some(recent(1..=2)));
    assert_eq!(cache.recent(ONE, 1), Some(recent(2..=2)));
    cache.appended(ONE, &entry(3));
    assert_eq!(cache.recent(ONE, 99), Some(recent(1..=3)));
    // The capacity is 3, so the first entry was dropped.
    cache.appended(ONE, &entry(4));
    assert_eq!(cache.recent(ONE, 3), Some(recent(2..=4)));
    assert_eq!(cache.recent(ONE, 4), None);
    // A full page: the session may have earlier entries.
    fill(&cache, TWO, 5..=6, 2);
    assert_eq!(cache.recent(TWO, 3), None);
    cache.summarized_up_to(TWO, &summary(4));
    assert_eq!(cache.recent(TWO, 2), Some(Recent { summary: Some(summary(4)), ..recent(5..=6) }));
    for (last, there) in [(6, 6), (5, 6)] {
        cache.summarized_up_to(TWO, &summary(last));
        assert_eq!(cache.recent(TWO, 2).and_then(|recent| recent.summary), Some(summary(there)));
    }
}

#[test]
fn append_after_a_gap_evicts_the_session() {
    let cache = RecentHistoryCache::new(CAPACITY);
    fill(&cache, ONE, 1..=2, 9);
    cache.appended(ONE, &entry(4));
    assert!(!holds(&cache, ONE));
    assert_eq!(cache.state().bytes, 0);
}

#[test]
fn change_during_a_read_discards_its_result() {
    let changes: [fn(&RecentHistoryCache); 5] = [
        |cache| cache.appended(ONE, &entry(3)),
        |cache| cache.summarized_up_to(ONE, &summary(1)),
        |cache| cache.evict(ONE),
        RecentHistoryCache::clear,
        |cache| cache.begin_read(ONE).store(&Recent { entries: Vec::new(), summary: None }, 9),
    ];
    for (number, change) in (1..).zip(changes) {
        let cache = RecentHistoryCache::new(CAPACITY);
        let pending = cache.begin_read(ONE);
        change(&cache);
        pending.store(&recent(1..=2), 9);
        assert!(!holds(&cache, ONE), "change {number}");
        assert!(cache.state().reads.is_empty(), "change {number}");
    }
    // Changes of other sessions do not matter.
    let cache = RecentHistoryCache::new(CAPACITY);
    let pending = cache.begin_read(ONE);
    cache.appended(TWO, &entry(3));
    pending.store(&recent(1..=2), 9);
    assert!(holds(&cache, ONE));
}

#[test]
fn dropped_read_leaves_no_registration() {
    let cache = RecentHistoryCache::new(CAPACITY);
    let (first, second) = (cache.begin_read(ONE), cache.begin_read(ONE));
    drop(first);
    second.store(&recent(1..=2), 9);
    assert!(holds(&cache, ONE), "the first must not end the registration of the second");
    drop(cache.begin_read(TWO));
    assert!(cache.state().reads.is_empty());
}

#[test]
fn evicts_the_least_recently_used_session() {
    let one = CachedTail::new(&recent(1..=2), 9).unwrap().bytes();
    let cache = RecentHistoryCache::new(3 * one);
    for user in 1..=3 {
        fill(&cache, UserLabel(user), 1..=2, 9);
    }
    assert!(cache.recent(ONE, 9).is_some());
    fill(&cache, UserLabel(4), 1..=2, 9);
    let held: Vec<_> = (1..=4).filter(|user| holds(&cache, UserLabel(*user))).collect();
    assert_eq!(held, [1, 3, 4]);
    // A session larger than the capacity evicts all, itself included.
    let text = UserText::new("x".repeat(3 * one));
    cache.appended(ONE, &Entry { text, ..entry(3) });
    assert_eq!(cache.state().by_user.len(), 0);
    assert_eq!(cache.state().bytes, 0);
}

#[test]
fn bytes_count_texts_and_summary() {
    let texts = |tail: &CachedTail| tail.bytes();
    let mut tail = CachedTail::new(&recent(1..=1), 1).unwrap();
    let bare = texts(&tail);
    let long = Entry { text: UserText::new("x".repeat(5_000)), ..entry(2) };
    assert!(tail.append(&long));
    assert!((5_000 - 20..5_000 + 200).contains(&(texts(&tail) - bare)));
    tail.set_summary(&Summary { text: UserText::new("y".repeat(3_000)), ..summary(1) });
    assert!(7_980 + bare < texts(&tail));
    assert_eq!(tail.recent(1).map(|recent| recent.entries), Some(slice::from_ref(&long).to_vec()));
}
