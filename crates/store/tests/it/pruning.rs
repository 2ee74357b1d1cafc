//! Retention.

use store::{Cutoffs, Page, StoreError, Summary};

use super::fixture::Fixture;
use super::*;

const FROM_START: Page = Page::After { seq: 0, limit: 99 };

fn cutoffs(empty: i64, kept: Option<i64>) -> Cutoffs {
    Cutoffs { now: hours(0), empty_before: hours(empty), entries_before: kept.map(hours), inactive_before: None }
}

#[tokio::test]
async fn prunes_empty_sessions_unless_in_use() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let (unused, used, talking) = (session(&*store).await, session(&*store).await, session(&*store).await);
        store.append(talking, 0, message("a", "hola")).await.unwrap();
        store.touch(&[used, UserLabel(4_711)], hours(5)).await.unwrap();
        assert_eq!(store.prune(cutoffs(0, None), 99).await.unwrap(), 0, "{}", fixture.name);
        assert_eq!(store.prune(cutoffs(5, None), 99).await.unwrap(), 1, "{}", fixture.name);
        let gone = store.entries(unused, FROM_START).await;
        assert!(matches!(gone, Err(StoreError::NoSession { .. })), "{}", fixture.name);
        store.entries(used, FROM_START).await.unwrap();
        store.entries(talking, FROM_START).await.unwrap();
        assert_eq!(store.prune(cutoffs(6, None), 99).await.unwrap(), 1, "{}", fixture.name);
    }
}

#[tokio::test]
async fn prunes_oldest_entries_and_keeps_numbering() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let made = new_session(hours(0));
        let user = store.create_session(made.clone()).await.unwrap().user;
        for seq in 0..6 {
            store.append(user, seq, message_at(&format!("m{seq}"), "hola", hours(seq as i64))).await.unwrap();
        }
        assert_eq!(store.prune(cutoffs(0, Some(4)), 99).await.unwrap(), 4, "{}", fixture.name);
        assert_eq!(seqs(&store.entries(user, FROM_START).await.unwrap()), [5, 6], "{}", fixture.name);
        let record = store.session_by_token(&made.token).await.unwrap().unwrap();
        assert_eq!((record.seq, record.pruned, record.messages), (6, 4, 6), "{}", fixture.name);
        // The session is in use, though all its entries are old.
        store.touch(&[user], hours(20)).await.unwrap();
        assert_eq!(store.prune(cutoffs(0, Some(20)), 99).await.unwrap(), 2, "{}", fixture.name);
        let record = store.session_by_token(&made.token).await.unwrap().unwrap();
        assert_eq!((record.seq, record.pruned), (6, 6), "{}", fixture.name);
        let entry = new(store.append(user, 6, message_at("m0", "otra vez", hours(21))).await.unwrap());
        assert_eq!(entry.seq, 7, "{}", fixture.name);
        assert_eq!(store.prune(cutoffs(0, Some(21)), 99).await.unwrap(), 0, "{}", fixture.name);
        assert_eq!(store.prune(cutoffs(0, Some(22)), 99).await.unwrap(), 2, "{}: entry and session", fixture.name);
        assert_eq!(store.session_by_token(&made.token).await.unwrap(), None, "{}", fixture.name);
    }
}

#[tokio::test]
async fn prune_respects_its_limit_and_reports_completion() {
    // The in-memory store ignores limits within a session.
    for fixture in Fixture::databases() {
        let store = fixture.open().await;
        for _ in 0..3 {
            let user = session(&*store).await;
            for seq in 0..7 {
                store.append(user, seq, message(&format!("m{seq}"), "hola")).await.unwrap();
            }
        }
        session(&*store).await;
        let mut all = 0;
        for round in 0.. {
            let removed = store.prune(cutoffs(9, Some(9)), 4).await.unwrap();
            all += removed;
            assert!(removed <= 5, "{}: {removed} in round {round}", fixture.name);
            assert!(round < 20, "{}: no end", fixture.name);
            if removed < 4 {
                break;
            }
        }
        assert_eq!(all, 3 * 7 + 4, "{}", fixture.name);
        assert_eq!(fixture.sql("SELECT count(*) FROM entries"), "0", "{}", fixture.name);
        assert_eq!(fixture.sql("SELECT count(*) FROM sessions"), "0", "{}", fixture.name);
    }
}

#[tokio::test]
async fn prunes_inactive_sessions_in_bounded_steps() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let unreached = |hour| Cutoffs {
            now: hours(0),
            empty_before: hours(0),
            entries_before: None,
            inactive_before: Some(hours(hour)),
        };
        let (lost, read) = (new_session(hours(0)), new_session(hours(0)));
        for made in [&lost, &read] {
            let user = store.create_session(made.clone()).await.unwrap().user;
            for seq in 0..9 {
                store.append(user, seq, message(&format!("m{seq}"), "hola")).await.unwrap();
            }
            let summary = Summary { first: 1, last: 3, text: UserText::new("un resumen") };
            assert!(store.put_summary(user, summary).await.unwrap(), "{}", fixture.name);
        }
        let reading = store.session_by_token(&read.token).await.unwrap().unwrap().user;
        store.touch(&[reading], hours(5)).await.unwrap();
        assert_eq!(store.prune(unreached(0), 99).await.unwrap(), 0, "{}", fixture.name);
        let mut removed = 0;
        for round in 0.. {
            let batch = store.prune(unreached(5), 4).await.unwrap();
            // The in-memory store ignores limits within a session.
            assert!(batch <= 5 || fixture.name == "memory", "{}: {batch} at once", fixture.name);
            assert!(round < 9, "{}: no end", fixture.name);
            removed += batch;
            if batch < 4 {
                break;
            }
        }
        removed += store.prune(unreached(5), 99).await.unwrap();
        assert_eq!(removed, 10, "{}: nine entries and their session", fixture.name);
        assert_eq!(store.session_by_token(&lost.token).await.unwrap(), None, "{}", fixture.name);
        assert_eq!(store.entries(reading, FROM_START).await.unwrap().len(), 9, "{}", fixture.name);
        assert!(store.recent(reading, 9).await.unwrap().summary.is_some(), "{}", fixture.name);
        assert_eq!(store.prune(unreached(6), 99).await.unwrap(), 10, "{}", fixture.name);
    }
}
