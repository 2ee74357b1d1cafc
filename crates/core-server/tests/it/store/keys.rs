//! Texts at rest.

use core_server::store::{OpenError, Page, StoreError, Summary, rekey};

use super::rig::{Rig, keyring};
use super::*;

const TEXT: &str = "nadie debe encontrar esto";
const FROM_START: Page = Page::After { seq: 0, limit: 99 };

fn summary(last: u64) -> Summary {
    Summary { first: 1, last, text: UserText::new(format!("{TEXT} hasta {last}")) }
}

fn plain_databases() -> [Rig; 2] {
    [Rig::sqlite("sqlite", keyring(None, &[])), Rig::postgres("postgres", keyring(None, &[]))]
}

#[tokio::test]
async fn texts_are_written_anew_under_another_key_and_back() {
    for rig in plain_databases() {
        let made = new_session(hours(0));
        let store = rig.open().await;
        let user = store.create_session(made.clone()).await.unwrap().user;
        for seq in 0..7 {
            store.append(user, seq, message(&format!("m{seq}"), &format!("{TEXT} {seq}"))).await.unwrap();
        }
        assert!(store.put_summary(user, summary(5)).await.unwrap(), "{}", rig.name);
        drop(store);
        // (new key, earlier ones)
        for (current, previous) in [(Some(1), vec![]), (Some(2), vec![1]), (None, vec![2]), (Some(3), vec![])] {
            let name = format!("{}: from {previous:?} to {current:?}", rig.name);
            let store = rig.open_with(keyring(current, &previous)).await.unwrap();
            let mut after = None;
            let mut pages = 0;
            while let Some(place) = store.reseal(after, 3).await.unwrap() {
                assert!(after < Some(place), "{name}: {place:?}");
                (after, pages) = (Some(place), pages + 1);
            }
            assert_eq!(pages, 3, "{name}");
            drop(store);
            // Under the new key alone everything is there.
            let store = rig.open_with(keyring(current, &[])).await.unwrap();
            let entries = store.entries(user, FROM_START).await.unwrap();
            assert_eq!(seqs(&entries), (1..=7).collect::<Vec<_>>(), "{name}");
            let same = |entry: &Entry| entry.text.expose() == format!("{TEXT} {}", entry.seq - 1);
            assert!(entries.iter().all(same), "{name}");
            assert_eq!(store.recent(user, 1).await.unwrap().summary, Some(summary(5)), "{name}");
            assert_eq!(
                store.session_by_token(&made.token).await.unwrap().map(|found| found.user),
                Some(user),
                "{name}"
            );
            let under = if current.is_some() { "IS NULL" } else { "IS NOT NULL" };
            for table in ["entries", "summaries", "keys"] {
                let left = rig.sql(&format!("SELECT count(*) FROM {table} WHERE key_id {under}"));
                assert_eq!(left, "0", "{name}: {table}");
                let keys = rig.sql(&format!("SELECT count(DISTINCT coalesce(key_id, 0)) FROM {table}"));
                assert_eq!(keys, "1", "{name}: {table}");
            }
            if current.is_some() && rig.name == "postgres" {
                assert!(!rig.holds(TEXT.as_bytes()), "{name}: still readable");
            }
        }
    }
}

#[tokio::test]
async fn a_missing_key_is_said_at_the_start() {
    for rig in Rig::databases().into_iter().filter(|rig| rig.name.ends_with("sealed")) {
        drop(rig.open().await);
        for keys in [keyring(None, &[]), keyring(Some(9), &[8])] {
            let error = rig.open_with(keys).await.unwrap_err();
            let fits = matches!(&error, OpenError::Contents { source: StoreError::UnknownKey(_), .. });
            assert!(fits, "{}: {error}", rig.name);
        }
        let store = rig.open_with(keyring(Some(9), &[1])).await.unwrap();
        rekey(&*store).await.unwrap();
        rig.open_with(keyring(Some(9), &[])).await.unwrap();
    }
}

#[tokio::test]
async fn a_text_that_was_moved_or_changed_does_not_open() {
    let moves = [
        "UPDATE entries SET text = (SELECT text FROM entries WHERE user_id = 1 AND seq = 1) WHERE user_id = 1 AND seq = 2",
        "UPDATE entries SET text = (SELECT text FROM entries WHERE user_id = 2 AND seq = 2) WHERE user_id = 1 AND seq = 2",
        "UPDATE entries SET text = (SELECT value FROM keys) WHERE user_id = 1 AND seq = 2",
        "UPDATE entries SET role = 'nobody' WHERE user_id = 1 AND seq = 2",
    ];
    for change in moves {
        for rig in Rig::databases().into_iter().filter(|rig| rig.name.ends_with("sealed")) {
            let store = rig.open().await;
            for _ in 0..2 {
                let user = session(&*store).await;
                store.append(user, 0, message("a", TEXT)).await.unwrap();
                store.append(user, 1, message("b", TEXT)).await.unwrap();
            }
            rig.sql(change);
            let read = store.entries(UserLabel(1), FROM_START).await;
            assert!(matches!(read, Err(StoreError::Damaged(_))), "{}: {change}: {read:?}", rig.name);
            store.entries(UserLabel(2), FROM_START).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_summary_that_was_moved_or_changed_does_not_open() {
    let moves = [
        "UPDATE summaries SET text = (SELECT text FROM summaries WHERE user_id = 2) WHERE user_id = 1",
        "UPDATE summaries SET first_seq = 2 WHERE user_id = 1",
        "UPDATE summaries SET last_seq = 3 WHERE user_id = 1",
        "UPDATE summaries SET text = (SELECT text FROM entries WHERE user_id = 1 AND seq = 2) WHERE user_id = 1",
    ];
    for change in moves {
        for rig in Rig::databases().into_iter().filter(|rig| rig.name.ends_with("sealed")) {
            let store = rig.open().await;
            for _ in 0..2 {
                let user = session(&*store).await;
                for seq in 0..3 {
                    store.append(user, seq, message(&format!("m{seq}"), TEXT)).await.unwrap();
                }
                assert!(store.put_summary(user, summary(2)).await.unwrap(), "{}", rig.name);
            }
            assert!(!rig.holds(TEXT.as_bytes()), "{}: readable", rig.name);
            rig.sql(change);
            let read = store.recent(UserLabel(1), 9).await;
            assert!(matches!(read, Err(StoreError::Damaged(_))), "{}: {change}: {read:?}", rig.name);
            store.recent(UserLabel(2), 9).await.unwrap();
        }
    }
}
