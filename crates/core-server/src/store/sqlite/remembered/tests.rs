//! What is remembered is what is stored, in whatever order commits, notes and reads come.

mod model;

use std::slice;

use protocol::server_frame::Role;
use protocol::{Timestamp, UserText};

use super::*;

const ROOM: usize = 100_000;
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

/// Remembers `seqs`, as if they had been asked for with this `limit`.
fn fill(remembered: &Remembered, user: UserLabel, seqs: std::ops::RangeInclusive<u64>, limit: usize) {
    remembered.reading(user).remember(&recent(seqs), limit);
}

fn holds(remembered: &Remembered, user: UserLabel) -> bool {
    remembered.tails().by_user.peek(&user).is_some()
}

#[test]
fn what_was_read_and_what_came_after_is_found() {
    let remembered = Remembered::new(ROOM);
    assert_eq!(remembered.recent(ONE, 3), None);
    fill(&remembered, ONE, 1..=2, 3);
    // There are no more: any limit is met.
    assert_eq!(remembered.recent(ONE, 99), Some(recent(1..=2)));
    assert_eq!(remembered.recent(ONE, 1), Some(recent(2..=2)));
    remembered.appended(ONE, &entry(3));
    assert_eq!(remembered.recent(ONE, 99), Some(recent(1..=3)));
    // No more than were ever asked for are kept, and so these are not all.
    remembered.appended(ONE, &entry(4));
    assert_eq!(remembered.recent(ONE, 3), Some(recent(2..=4)));
    assert_eq!(remembered.recent(ONE, 4), None);
    // As many as were asked for: there may be more before them.
    fill(&remembered, TWO, 5..=6, 2);
    assert_eq!(remembered.recent(TWO, 3), None);
    remembered.summed_up(TWO, &summary(4));
    assert_eq!(remembered.recent(TWO, 2), Some(Recent { summary: Some(summary(4)), ..recent(5..=6) }));
    for (last, there) in [(6, 6), (5, 6)] {
        remembered.summed_up(TWO, &summary(last));
        assert_eq!(remembered.recent(TWO, 2).and_then(|recent| recent.summary), Some(summary(there)));
    }
}

#[test]
fn a_gap_is_forgotten() {
    let remembered = Remembered::new(ROOM);
    fill(&remembered, ONE, 1..=2, 9);
    remembered.appended(ONE, &entry(4));
    assert!(!holds(&remembered, ONE));
    assert_eq!(remembered.tails().bytes, 0);
}

#[test]
fn a_read_that_is_older_than_a_note_is_not_remembered() {
    let notes: [fn(&Remembered); 5] = [
        |remembered| remembered.appended(ONE, &entry(3)),
        |remembered| remembered.summed_up(ONE, &summary(1)),
        |remembered| remembered.forget(ONE),
        Remembered::forget_all,
        |remembered| remembered.reading(ONE).remember(&Recent { entries: Vec::new(), summary: None }, 9),
    ];
    for (number, note) in (1..).zip(notes) {
        let remembered = Remembered::new(ROOM);
        let reading = remembered.reading(ONE);
        note(&remembered);
        reading.remember(&recent(1..=2), 9);
        assert!(!holds(&remembered, ONE), "note {number}");
        assert!(remembered.tails().reads.is_empty(), "note {number}");
    }
    // What is noted of another session is nothing to it.
    let remembered = Remembered::new(ROOM);
    let reading = remembered.reading(ONE);
    remembered.appended(TWO, &entry(3));
    reading.remember(&recent(1..=2), 9);
    assert!(holds(&remembered, ONE));
}

#[test]
fn a_read_that_came_to_nothing_leaves_nothing() {
    let remembered = Remembered::new(ROOM);
    let (first, second) = (remembered.reading(ONE), remembered.reading(ONE));
    drop(first);
    second.remember(&recent(1..=2), 9);
    assert!(holds(&remembered, ONE), "the first does not end the second");
    drop(remembered.reading(TWO));
    assert!(remembered.tails().reads.is_empty());
}

#[test]
fn who_did_not_come_up_for_longest_goes_first() {
    let one = Tail::new(&recent(1..=2), 9).unwrap().bytes();
    let remembered = Remembered::new(3 * one);
    for user in 1..=3 {
        fill(&remembered, UserLabel(user), 1..=2, 9);
    }
    assert!(remembered.recent(ONE, 9).is_some());
    fill(&remembered, UserLabel(4), 1..=2, 9);
    let held: Vec<_> = (1..=4).filter(|user| holds(&remembered, UserLabel(*user))).collect();
    assert_eq!(held, [1, 3, 4]);
    // One that is too large by itself does not stay, and takes the others along.
    let text = UserText::new("x".repeat(3 * one));
    remembered.appended(ONE, &Entry { text, ..entry(3) });
    assert_eq!(remembered.tails().by_user.len(), 0);
    assert_eq!(remembered.tails().bytes, 0);
}

#[test]
fn all_that_is_kept_is_counted() {
    let texts = |tail: &Tail| tail.bytes();
    let mut tail = Tail::new(&recent(1..=1), 1).unwrap();
    let bare = texts(&tail);
    let long = Entry { text: UserText::new("x".repeat(5_000)), ..entry(2) };
    assert!(tail.append(&long));
    assert!((5_000 - 20..5_000 + 200).contains(&(texts(&tail) - bare)));
    tail.sum_up(&Summary { text: UserText::new("y".repeat(3_000)), ..summary(1) });
    assert!(7_980 + bare < texts(&tail));
    assert_eq!(tail.recent(1).map(|recent| recent.entries), Some(slice::from_ref(&long).to_vec()));
}
