//! Forgotten messages and summaries.

use store::{Forget, Page, Summary, Tombstone};

use super::fixture::Fixture;
use super::*;

fn forget(name: &str) -> Forget {
    let help = Help { level: Level::High, subject: Subject::Own, kind: None, resources: Vec::new() };
    Forget { id: id(name), at: hours(1), help: Some(Box::new(help)) }
}

/// A session with two exchanges, the second with help: entries 1 to 5.
async fn talk(store: &dyn Store) -> UserLabel {
    let user = session(store).await;
    let entries =
        [message("a", "uno"), answer("a", "dos"), message("b", "tres"), support("b", "cuatro"), answer("b", "cinco")];
    for (after, entry) in entries.into_iter().enumerate() {
        store.append(user, after as u64, entry).await.unwrap();
    }
    user
}

const ALL: Page = Page::After { seq: 0, limit: 99 };

#[tokio::test]
async fn message_is_forgotten_with_help_and_answer() {
    for fixture in Fixture::all() {
        let name = fixture.name;
        let store = fixture.open().await;
        let user = talk(&*store).await;
        store.recent(user, 9).await.unwrap();
        assert_eq!(store.last_message(user).await.unwrap(), Some(id("b")), "{name}");
        let (forgotten, erased) = store.forget(user, forget("b")).await.unwrap().unwrap();
        assert_eq!((forgotten.seq, forgotten.from_seq, erased), (6, 3, 3), "{name}");
        drop(store);
        let store = fixture.open().await;
        assert_eq!(store.forget(user, forget("b")).await.unwrap(), Some((forgotten.clone(), 0)), "{name}: a retry");
        assert_eq!(store.forget(user, forget("x")).await.unwrap(), None, "{name}: unknown");
        assert_eq!(seqs(&store.entries(user, ALL).await.unwrap()), [1, 2], "{name}");
        assert_eq!(seqs(&store.recent(user, 2).await.unwrap().entries), [1, 2], "{name}: replaced by older ones");
        assert_eq!(store.entries_of(user, &id("b")).await.unwrap(), [], "{name}");
        let page = store.readable_entries(user, ALL).await.unwrap();
        assert_eq!((seqs(&page.entries), page.rows(), page.last_seq()), (vec![1, 2], 3, Some(6)), "{name}");
        let tombstone = Tombstone { forgotten: forgotten.clone(), at: hours(1), help: forget("b").help };
        assert_eq!(page.tombstones, [tombstone], "{name}");
        assert_eq!(store.last_message(user).await.unwrap(), Some(id("a")), "{name}");
        // Late writes and a message that is sent again meet it.
        for late in [message("b", "tres"), support("b", "cuatro"), answer("b", "otra")] {
            assert_eq!(store.append(user, 6, late).await.unwrap(), Appended::Forgotten(forgotten.clone()), "{name}");
        }
        let next = new(store.append(user, 6, message("c", "seis")).await.unwrap());
        assert_eq!(next.seq, 7, "{name}: no number is used twice");
        assert_eq!(seqs(&store.recent(user, 9).await.unwrap().entries), [1, 2, 7], "{name}");
        assert_eq!(store.session(user).await.unwrap().unwrap().seq, 7, "{name}");
    }
}

#[tokio::test]
async fn forgotten_text_is_not_in_the_database() {
    for fixture in Fixture::databases() {
        let store = fixture.open().await;
        let user = talk(&*store).await;
        store.forget(user, forget("b")).await.unwrap().unwrap();
        assert_eq!(fixture.sql("SELECT count(*) FROM entries"), "3", "{}", fixture.name);
    }
}

#[tokio::test]
async fn everything_may_be_forgotten() {
    for fixture in Fixture::all() {
        let name = fixture.name;
        let store = fixture.open().await;
        let user = talk(&*store).await;
        for (message, seq) in [("b", 6), ("a", 7)] {
            assert_eq!(store.last_message(user).await.unwrap(), Some(id(message)), "{name}");
            assert_eq!(store.forget(user, forget(message)).await.unwrap().unwrap().0.seq, seq, "{name}");
        }
        assert_eq!(store.last_message(user).await.unwrap(), None, "{name}");
        assert_eq!(store.recent(user, 9).await.unwrap().entries, [], "{name}");
        // Retention removes the tombstones too, and the id is free again.
        let cutoffs = store::Cutoffs {
            now: hours(3),
            empty_before: hours(-1),
            entries_before: Some(hours(2)),
            inactive_before: None,
        };
        store.append(user, 7, message_at("c", "seis", hours(3))).await.unwrap();
        store.prune(cutoffs, 99).await.unwrap();
        assert_eq!(new(store.append(user, 8, message("a", "uno")).await.unwrap()).seq, 9, "{name}");
    }
}

#[tokio::test]
async fn concurrent_appends_store_nothing_of_a_forgotten_message() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        for round in 0..20 {
            let user = session(&*store).await;
            store.append(user, 0, message("a", "uno")).await.unwrap();
            let (answered, forgotten) =
                tokio::join!(store.append(user, 1, answer("a", "dos")), store.forget(user, forget("a")));
            answered.unwrap();
            forgotten.unwrap().unwrap();
            assert_eq!(store.entries(user, ALL).await.unwrap(), [], "{}: round {round}", fixture.name);
        }
    }
}

fn summary(first: u64, last: u64) -> Summary {
    Summary { first, last, text: UserText::new(format!("de {first} a {last}")) }
}

#[tokio::test]
async fn summary_that_drew_on_a_forgotten_message_goes() {
    for fixture in Fixture::all() {
        let name = fixture.name;
        let store = fixture.open().await;
        let user = talk(&*store).await;
        assert!(store.put_summary(user, summary(1, 1)).await.unwrap(), "{name}");
        store.forget(user, forget("b")).await.unwrap().unwrap();
        assert_eq!(store.recent(user, 1).await.unwrap().summary, Some(summary(1, 1)), "{name}: an earlier one stays");
        assert!(!store.put_summary(user, summary(1, 3)).await.unwrap(), "{name}: one that was being made");
        store.forget(user, forget("a")).await.unwrap().unwrap();
        assert_eq!(store.recent(user, 1).await.unwrap().summary, None, "{name}");
    }
}

#[tokio::test]
async fn forgotten_summary_is_not_made_again_from_the_same_messages() {
    for fixture in Fixture::all() {
        let name = fixture.name;
        let store = fixture.open().await;
        let user = talk(&*store).await;
        assert!(store.put_summary(user, summary(1, 1)).await.unwrap(), "{name}");
        store.forget_summary(user).await.unwrap();
        let found = store.recent(user, 9).await.unwrap().summary;
        assert!(found.is_none_or(|summary| summary.text.is_empty()), "{name}");
        assert!(!store.put_summary(user, summary(1, 3)).await.unwrap(), "{name}");
        store.append(user, 5, message("c", "seis")).await.unwrap();
        assert!(store.put_summary(user, summary(6, 6)).await.unwrap(), "{name}");
        assert_eq!(store.recent(user, 1).await.unwrap().summary, Some(summary(6, 6)), "{name}");
        let empty = session(&*store).await;
        store.forget_summary(empty).await.unwrap();
        assert_eq!(store.recent(empty, 1).await.unwrap().summary, None, "{name}");
    }
}
