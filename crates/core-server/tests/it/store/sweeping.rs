//! What is too old, and what counts as in use.

use core_server::store::{Cutoffs, Page, StoreError};

use super::rig::Rig;
use super::*;

const FROM_START: Page = Page::After { seq: 0, limit: 99 };

fn cutoffs(empty: i64, kept: Option<i64>) -> Cutoffs {
    Cutoffs { empty: hours(empty), kept: kept.map(hours) }
}

#[tokio::test]
async fn sessions_without_entries_go_unless_they_are_in_use() {
    for rig in Rig::all() {
        let store = rig.open().await;
        let (unused, used, talking) = (session(&*store).await, session(&*store).await, session(&*store).await);
        store.append(talking, 0, message("a", "hola")).await.unwrap();
        store.touch(&[used, UserLabel(4_711)], hours(5)).await.unwrap();
        assert_eq!(store.sweep(cutoffs(0, None), 99).await.unwrap(), 0, "{}", rig.name);
        assert_eq!(store.sweep(cutoffs(5, None), 99).await.unwrap(), 1, "{}", rig.name);
        let gone = store.entries(unused, FROM_START).await;
        assert!(matches!(gone, Err(StoreError::NoSession { .. })), "{}", rig.name);
        store.entries(used, FROM_START).await.unwrap();
        store.entries(talking, FROM_START).await.unwrap();
        assert_eq!(store.sweep(cutoffs(6, None), 99).await.unwrap(), 1, "{}", rig.name);
    }
}

#[tokio::test]
async fn old_entries_go_from_the_front_and_numbers_go_on() {
    for rig in Rig::all() {
        let store = rig.open().await;
        let made = new_session(hours(0));
        let user = store.create_session(made.clone()).await.unwrap().user;
        for seq in 0..6 {
            store.append(user, seq, message_at(&format!("m{seq}"), "hola", hours(seq as i64))).await.unwrap();
        }
        assert_eq!(store.sweep(cutoffs(0, Some(4)), 99).await.unwrap(), 4, "{}", rig.name);
        assert_eq!(seqs(&store.entries(user, FROM_START).await.unwrap()), [5, 6], "{}", rig.name);
        let record = store.session_by_token(&made.token).await.unwrap().unwrap();
        assert_eq!((record.seq, record.swept, record.messages), (6, 4, 6), "{}", rig.name);
        // Someone is there, though everything they said is old.
        store.touch(&[user], hours(20)).await.unwrap();
        assert_eq!(store.sweep(cutoffs(0, Some(20)), 99).await.unwrap(), 2, "{}", rig.name);
        let record = store.session_by_token(&made.token).await.unwrap().unwrap();
        assert_eq!((record.seq, record.swept), (6, 6), "{}", rig.name);
        let entry = new(store.append(user, 6, message_at("m0", "otra vez", hours(21))).await.unwrap());
        assert_eq!(entry.seq, 7, "{}", rig.name);
        assert_eq!(store.sweep(cutoffs(0, Some(21)), 99).await.unwrap(), 0, "{}", rig.name);
        assert_eq!(store.sweep(cutoffs(0, Some(22)), 99).await.unwrap(), 2, "{}: entry and session", rig.name);
        assert_eq!(store.session_by_token(&made.token).await.unwrap(), None, "{}", rig.name);
    }
}

#[tokio::test]
async fn a_sweep_does_at_most_about_what_it_may_and_says_when_it_is_done() {
    // Memory knows no limits below a session: it is for tests.
    for rig in Rig::databases() {
        let store = rig.open().await;
        for _ in 0..3 {
            let user = session(&*store).await;
            for seq in 0..7 {
                store.append(user, seq, message(&format!("m{seq}"), "hola")).await.unwrap();
            }
        }
        session(&*store).await;
        let mut all = 0;
        for round in 0.. {
            let swept = store.sweep(cutoffs(9, Some(9)), 4).await.unwrap();
            all += swept;
            assert!(swept <= 5, "{}: {swept} in round {round}", rig.name);
            assert!(round < 20, "{}: no end", rig.name);
            if swept < 4 {
                break;
            }
        }
        assert_eq!(all, 3 * 7 + 4, "{}", rig.name);
        assert_eq!(rig.sql("SELECT count(*) FROM entries"), "0", "{}", rig.name);
        assert_eq!(rig.sql("SELECT count(*) FROM sessions"), "0", "{}", rig.name);
    }
}
