//! What is too old, and what counts as in use.

use core_server::store::{Cutoffs, Page, StoreError, Summary};

use super::rig::Rig;
use super::*;

const FROM_START: Page = Page::After { seq: 0, limit: 99 };

fn cutoffs(empty: i64, kept: Option<i64>) -> Cutoffs {
    Cutoffs { empty: hours(empty), kept: kept.map(hours), unreached: None }
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

#[tokio::test]
async fn conversations_that_nobody_reaches_go_whole_and_in_parts_if_they_are_long() {
    for rig in Rig::all() {
        let store = rig.open().await;
        let unreached = |hour| Cutoffs { empty: hours(0), kept: None, unreached: Some(hours(hour)) };
        let (lost, read) = (new_session(hours(0)), new_session(hours(0)));
        for made in [&lost, &read] {
            let user = store.create_session(made.clone()).await.unwrap().user;
            for seq in 0..9 {
                store.append(user, seq, message(&format!("m{seq}"), "hola")).await.unwrap();
            }
            let summary = Summary { first: 1, last: 3, text: UserText::new("un resumen") };
            assert!(store.put_summary(user, summary).await.unwrap(), "{}", rig.name);
        }
        let reading = store.session_by_token(&read.token).await.unwrap().unwrap().user;
        store.touch(&[reading], hours(5)).await.unwrap();
        assert_eq!(store.sweep(unreached(0), 99).await.unwrap(), 0, "{}", rig.name);
        let mut swept = 0;
        for round in 0.. {
            let batch = store.sweep(unreached(5), 4).await.unwrap();
            // Memory knows no limits below a session: it is for tests.
            assert!(batch <= 5 || rig.name == "memory", "{}: {batch} at once", rig.name);
            assert!(round < 9, "{}: no end", rig.name);
            swept += batch;
            if batch < 4 {
                break;
            }
        }
        swept += store.sweep(unreached(5), 99).await.unwrap();
        assert_eq!(swept, 10, "{}: nine entries and their session", rig.name);
        assert_eq!(store.session_by_token(&lost.token).await.unwrap(), None, "{}", rig.name);
        assert_eq!(store.entries(reading, FROM_START).await.unwrap().len(), 9, "{}", rig.name);
        assert!(store.recent(reading, 9).await.unwrap().summary.is_some(), "{}", rig.name);
        assert_eq!(store.sweep(unreached(6), 99).await.unwrap(), 10, "{}", rig.name);
    }
}
