//! Encryption at rest.

use std::time::Duration;

use store::{OpenError, Page, StoreError, Summary, rekey, upgrade_legacy_entries};

use super::fixture::{Fixture, keyring};
use super::*;

const TEXT: &str = "nadie debe encontrar esto";
const FROM_START: Page = Page::After { seq: 0, limit: 99 };

fn summary(last: u64) -> Summary {
    Summary { first: 1, last, text: UserText::new(format!("{TEXT} hasta {last}")) }
}

fn plain_databases() -> [Fixture; 2] {
    [Fixture::sqlite("sqlite", keyring(None, &[])), Fixture::postgres("postgres", keyring(None, &[]))]
}

#[tokio::test]
async fn reencrypt_changes_adds_and_removes_keys() {
    for fixture in plain_databases() {
        let made = new_session(hours(0));
        let store = fixture.open().await;
        let user = store.create_session(made.clone()).await.unwrap().user;
        for seq in 0..7 {
            store.append(user, seq, message(&format!("m{seq}"), &format!("{TEXT} {seq}"))).await.unwrap();
        }
        assert!(store.put_summary(user, summary(5)).await.unwrap(), "{}", fixture.name);
        drop(store);
        // (current key, previous ones)
        for (current, previous) in [(Some(1), vec![]), (Some(2), vec![1]), (None, vec![2]), (Some(3), vec![])] {
            let name = format!("{}: from {previous:?} to {current:?}", fixture.name);
            let store = fixture.open_with(keyring(current, &previous)).await.unwrap();
            let mut after = None;
            let mut pages = 0;
            while let Some(place) = store.reencrypt(after, 3).await.unwrap() {
                assert!(after < Some(place), "{name}: {place:?}");
                (after, pages) = (Some(place), pages + 1);
            }
            assert_eq!(pages, 3, "{name}");
            drop(store);
            // Everything is readable with the new key alone.
            let store = fixture.open_with(keyring(current, &[])).await.unwrap();
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
                let left = fixture.sql(&format!("SELECT count(*) FROM {table} WHERE key_id {under}"));
                assert_eq!(left, "0", "{name}: {table}");
                let keys = fixture.sql(&format!("SELECT count(DISTINCT coalesce(key_id, 0)) FROM {table}"));
                assert_eq!(keys, "1", "{name}: {table}");
            }
            if current.is_some() && fixture.name == "postgres" {
                assert!(!fixture.holds(TEXT.as_bytes()), "{name}: still readable");
            }
        }
    }
}

#[tokio::test]
async fn open_rejects_a_missing_key() {
    for fixture in Fixture::databases().into_iter().filter(|fixture| fixture.name.ends_with("sealed")) {
        drop(fixture.open().await);
        for keys in [keyring(None, &[]), keyring(Some(9), &[8])] {
            let error = fixture.open_with(keys).await.unwrap_err();
            let fits = matches!(&error, OpenError::Contents { source: StoreError::UnknownKey(_), .. });
            assert!(fits, "{}: {error}", fixture.name);
        }
        let store = fixture.open_with(keyring(Some(9), &[1])).await.unwrap();
        rekey(&*store).await.unwrap();
        fixture.open_with(keyring(Some(9), &[])).await.unwrap();
    }
}

#[tokio::test]
async fn rejects_moved_or_changed_texts() {
    let moves = [
        "UPDATE entries SET text = (SELECT text FROM entries WHERE user_id = 1 AND seq = 1) WHERE user_id = 1 AND seq = 2",
        "UPDATE entries SET text = (SELECT text FROM entries WHERE user_id = 2 AND seq = 2) WHERE user_id = 1 AND seq = 2",
        "UPDATE entries SET text = (SELECT value FROM keys) WHERE user_id = 1 AND seq = 2",
        "UPDATE entries SET role = 'nobody' WHERE user_id = 1 AND seq = 2",
    ];
    for change in moves {
        for fixture in Fixture::databases().into_iter().filter(|fixture| fixture.name.ends_with("sealed")) {
            let store = fixture.open().await;
            for _ in 0..2 {
                let user = session(&*store).await;
                store.append(user, 0, message("a", TEXT)).await.unwrap();
                store.append(user, 1, message("b", TEXT)).await.unwrap();
            }
            fixture.sql(change);
            let read = store.entries(UserLabel(1), FROM_START).await;
            assert!(matches!(read, Err(StoreError::Damaged(_))), "{}: {change}: {read:?}", fixture.name);
            store.entries(UserLabel(2), FROM_START).await.unwrap();
        }
    }
}

#[tokio::test]
async fn skips_moved_or_changed_summaries() {
    let moves = [
        "UPDATE summaries SET text = (SELECT text FROM summaries WHERE user_id = 2) WHERE user_id = 1",
        "UPDATE summaries SET first_seq = 2 WHERE user_id = 1",
        "UPDATE summaries SET last_seq = 3 WHERE user_id = 1",
        "UPDATE summaries SET text = (SELECT text FROM entries WHERE user_id = 1 AND seq = 2) WHERE user_id = 1",
    ];
    for change in moves {
        for fixture in Fixture::databases().into_iter().filter(|fixture| fixture.name.ends_with("sealed")) {
            let store = fixture.open().await;
            for _ in 0..2 {
                let user = session(&*store).await;
                for seq in 0..3 {
                    store.append(user, seq, message(&format!("m{seq}"), TEXT)).await.unwrap();
                }
                assert!(store.put_summary(user, summary(2)).await.unwrap(), "{}", fixture.name);
            }
            assert!(!fixture.holds(TEXT.as_bytes()), "{}: readable", fixture.name);
            fixture.sql(change);
            // The summary is skipped, the entries are returned.
            let read = store.recent(UserLabel(1), 9).await.unwrap();
            assert_eq!((read.summary, seqs(&read.entries)), (None, vec![1, 2, 3]), "{}: {change}", fixture.name);
            assert_eq!(store.recent(UserLabel(2), 9).await.unwrap().summary, Some(summary(2)), "{}", fixture.name);
        }
    }
}

/// Changes that make the second entry of the first session unreadable.
const DAMAGES: [&str; 4] = [
    "UPDATE entries SET key_id = 1 WHERE user_id = 1 AND seq = 2",
    "UPDATE entries SET text = (SELECT value FROM keys) WHERE user_id = 1 AND seq = 2",
    "UPDATE entries SET role = 'nobody' WHERE user_id = 1 AND seq = 2",
    "UPDATE entries SET message_id = '' WHERE user_id = 1 AND seq = 2",
];

#[tokio::test]
async fn unreadable_rows_are_skipped_and_others_returned() {
    for damage in DAMAGES {
        for fixture in Fixture::databases().into_iter().filter(|fixture| fixture.name.ends_with("sealed")) {
            let name = format!("{}: {damage}", fixture.name);
            let store = fixture.open().await;
            let user = session(&*store).await;
            for seq in 0..4 {
                store.append(user, seq, message(&format!("m{seq}"), TEXT)).await.unwrap();
            }
            fixture.sql(damage);
            for (limit, want) in [(1, vec![4]), (2, vec![3, 4]), (3, vec![1, 3, 4]), (9, vec![1, 3, 4])] {
                let recent = store.recent(user, limit).await.unwrap();
                assert_eq!(seqs(&recent.entries), want, "{name}: {limit}");
            }
            let pages = [
                (Page::After { seq: 0, limit: 2 }, vec![1], vec![2]),
                (Page::After { seq: 1, limit: 1 }, vec![], vec![2]),
                (Page::Before { seq: 4, limit: 2 }, vec![3], vec![2]),
                (Page::After { seq: 2, limit: 9 }, vec![3, 4], vec![]),
            ];
            for (page, readable, unreadable) in pages {
                let found = store.readable_entries(user, page).await.unwrap();
                assert_eq!((seqs(&found.entries), found.unreadable), (readable, unreadable), "{name}: {page:?}");
            }
            // A strict read must fail instead of hiding the gap.
            assert!(store.entries(user, FROM_START).await.is_err(), "{name}");
            let absent = store.readable_entries(UserLabel(99), FROM_START).await;
            assert!(matches!(absent, Err(StoreError::NoSession { .. })), "{name}: {absent:?}");
            new(store.append(user, 4, message("m4", TEXT)).await.unwrap());
            assert_eq!(seqs(&store.recent(user, 9).await.unwrap().entries), [1, 3, 4, 5], "{name}");
        }
    }
}

#[tokio::test]
async fn rekey_continues_past_damaged_rows() {
    for fixture in Fixture::databases().into_iter().filter(|fixture| fixture.name.ends_with("sealed")) {
        let store = fixture.open().await;
        let user = session(&*store).await;
        for seq in 0..4 {
            store.append(user, seq, message(&format!("m{seq}"), TEXT)).await.unwrap();
        }
        assert!(store.put_summary(user, summary(2)).await.unwrap());
        fixture.sql("UPDATE entries SET text = (SELECT value FROM keys) WHERE seq = 2");
        fixture.sql("UPDATE summaries SET first_seq = 2");
        drop(store);
        rekey(&*fixture.open_with(keyring(Some(2), &[1])).await.unwrap()).await.unwrap();
        let store = fixture.open_with(keyring(Some(2), &[])).await.unwrap();
        let found = store.readable_entries(user, FROM_START).await.unwrap();
        assert_eq!((seqs(&found.entries), found.unreadable), (vec![1, 3, 4], vec![2]), "{}", fixture.name);
    }
}

/// The key rotation described in README: at each step every core reads everything.
#[tokio::test]
async fn key_rotation_on_two_cores_keeps_all_readable() {
    for (from, to) in [(Some(1), Some(2)), (None, Some(1)), (Some(1), None)] {
        for fixture in plain_databases() {
            let name = format!("{}: from {from:?} to {to:?}", fixture.name);
            let list = |key: Option<u8>| key.into_iter().collect::<Vec<_>>();
            let before = keyring(from, &[]);
            let reads_both = keyring(from, &list(to));
            let swapped = keyring(to, &list(from));
            let after = keyring(to, &[]);
            let made = new_session(hours(0));
            let user =
                fixture.open_with(before.clone()).await.unwrap().create_session(made.clone()).await.unwrap().user;
            let mut written = 0;
            for (step, (one, other)) in [
                (&before, &before),
                (&reads_both, &before),
                (&reads_both, &reads_both),
                (&swapped, &reads_both),
                (&swapped, &swapped),
                (&after, &swapped),
                (&after, &after),
            ]
            .into_iter()
            .enumerate()
            {
                let cores =
                    [fixture.open_with(one.clone()).await.unwrap(), fixture.open_with(other.clone()).await.unwrap()];
                for writer in &cores {
                    let id = format!("m{written}");
                    new(writer.append(user, written, message(&id, TEXT)).await.unwrap());
                    written += 1;
                    assert!(writer.put_summary(user, summary(written)).await.unwrap(), "{name}: step {step}");
                    for reader in &cores {
                        let entries = reader.entries(user, FROM_START).await.unwrap();
                        assert_eq!(entries.len() as u64, written, "{name}: step {step}");
                        assert!(entries.iter().all(|entry| entry.text.expose() == TEXT), "{name}: step {step}");
                        let found = reader.session_by_token(&made.token).await.unwrap();
                        assert_eq!(found.map(|found| found.user), Some(user), "{name}: step {step}");
                    }
                }
                let [_, other] = &cores;
                if step == 4 {
                    rekey(&**other).await.unwrap();
                }
            }
        }
    }
}

/// Role, finish reason and source must not be stored in plain, nor be recognizable by equal values.
#[tokio::test]
async fn stored_columns_do_not_reveal_roles() {
    for fixture in Fixture::databases().into_iter().filter(|fixture| fixture.name.ends_with("sealed")) {
        let store = fixture.open().await;
        let user = session(&*store).await;
        for number in 0..3 {
            let name = format!("m{number}");
            for (after, entry) in
                [message(&name, TEXT), support(&name, TEXT), answer(&name, TEXT)].into_iter().enumerate()
            {
                new(store.append(user, number * 3 + after as u64, entry).await.unwrap());
            }
        }
        let distinct = |column: &str| fixture.sql(&format!("SELECT count(DISTINCT {column}) FROM entries"));
        assert_eq!(distinct("role"), "9", "{}: no two entries share a value", fixture.name);
        assert_eq!((distinct("finish"), distinct("source")), ("0".to_owned(), "0".to_owned()), "{}", fixture.name);
        assert_eq!(distinct("length(text)"), "1", "{}: equal lengths", fixture.name);
        let roles: Vec<_> = store.entries(user, FROM_START).await.unwrap().iter().map(|entry| entry.role).collect();
        assert_eq!(roles, [Role::User, Role::Support, Role::Assistant].repeat(3), "{}", fixture.name);
    }
}

/// Rewrites entries as an earlier version stored them: role in plain, no header.
const LEGACY: [&str; 3] = [
    "UPDATE entries SET role = 'user', text = substr(text, 8) WHERE seq % 2 = 1",
    "UPDATE entries SET role = 'assistant', text = substr(text, 8), finish = 'length', source = 'companion' \
     WHERE seq % 2 = 0",
    "DELETE FROM summaries",
];

#[tokio::test]
async fn legacy_entries_are_readable_deduplicated_and_upgraded() {
    for fixture in plain_databases() {
        for current in [None, Some(1)] {
            let name = format!("{} to {current:?}", fixture.name);
            let store = fixture.open().await;
            let user = session(&*store).await;
            for number in 0..4 {
                let id = format!("m{number}");
                new(store.append(user, number * 2, message(&id, TEXT)).await.unwrap());
                new(store.append(user, number * 2 + 1, answer(&id, TEXT)).await.unwrap());
            }
            LEGACY.iter().for_each(|sql| drop(fixture.sql(&format!("{sql} "))));
            drop(store);
            let store = fixture.open_with(keyring(current, &[])).await.unwrap();
            let before = store.entries(user, FROM_START).await.unwrap();
            let content = |entry: &Entry| (entry.role, entry.finish, entry.source, entry.text.expose() == TEXT);
            assert_eq!(content(&before[0]), (Role::User, None, None, true), "{name}");
            let end = (Role::Assistant, Some(Finish::Length), Some(Source::Companion), true);
            assert_eq!(content(&before[1]), end, "{name}");
            for seq in [1, 2] {
                let again = if seq == 1 { message("m0", "otra") } else { answer("m0", "otra") };
                assert_eq!(store.append(user, 8, again).await.unwrap(), Appended::Existing { seq }, "{name}");
            }
            upgrade_legacy_entries(&*store, Duration::ZERO).await.unwrap();
            assert_eq!(store.entries(user, FROM_START).await.unwrap(), before, "{name}");
            let bare = "role IN ('user', 'assistant', 'support') OR finish IS NOT NULL OR source IS NOT NULL";
            assert_eq!(fixture.sql(&format!("SELECT count(*) FROM entries WHERE {bare}")), "0", "{name}");
            let under = if current.is_some() { "IS NULL" } else { "IS NOT NULL" };
            let left = format!("SELECT count(*) FROM entries WHERE user_id = {} AND key_id {under}", user.0);
            assert_eq!(fixture.sql(&left), "0", "{name}");
            assert_eq!(
                store.append(user, 8, message("m0", "otra")).await.unwrap(),
                Appended::Existing { seq: 1 },
                "{name}"
            );
            rekey(&*fixture.open_with(keyring(None, &[1])).await.unwrap()).await.unwrap();
        }
    }
}
