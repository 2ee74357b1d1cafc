//! Recent history under concurrent writes.

use store::{Page, StoreError, Summary};
use tokio::task::JoinSet;

use super::fixture::Fixture;
use super::*;

const TASKS: u64 = 8;
const ROUNDS: u64 = 25;

/// Appends an entry and asserts that recent history contains it.
async fn append_and_find(store: &dyn Store, user: UserLabel, name: &str, limit: u64) -> u64 {
    let entry = new(store.append(user, 0, message(name, name)).await.unwrap());
    let found = store.recent(user, usize::try_from(limit).unwrap()).await.unwrap().entries;
    let last = found.last().unwrap().seq;
    assert!(entry.seq <= last, "{last} after {}", entry.seq);
    let first = (last + 1).saturating_sub(limit).max(1);
    assert_eq!(seqs(&found), (first..=last).collect::<Vec<_>>());
    entry.seq
}

async fn summarize_and_find(store: &dyn Store, user: UserLabel, last: u64) {
    let summary = Summary { first: 1, last, text: UserText::new(format!("hasta {last}")) };
    store.put_summary(user, summary).await.unwrap();
    let found = store.recent(user, 1).await.unwrap().summary.unwrap();
    assert!(last <= found.last, "{} after {last}", found.last);
    assert_eq!(found.text.expose(), format!("hasta {}", found.last));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_read_their_own_writes() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let users = [session(&*store).await, session(&*store).await];
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let store = std::sync::Arc::clone(&store);
            tasks.spawn(async move {
                for round in 0..ROUNDS {
                    let user = users[usize::from((task + round) % 3 == 0)];
                    let seq = append_and_find(&*store, user, &format!("m{task}-{round}"), 1 + (task + round) % 6).await;
                    if round % 4 == 0 {
                        summarize_and_find(&*store, user, seq).await;
                    }
                }
            });
        }
        tasks.join_all().await;
        for user in users {
            for limit in [0, 1, 5, 6, 7, 999] {
                let stored = store.entries(user, Page::Before { seq: u64::MAX, limit }).await.unwrap();
                assert_eq!(store.recent(user, limit).await.unwrap().entries, stored, "{}: {limit}", fixture.name);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_sessions_have_no_recent_history() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        for _ in 0..20 {
            let user = session(&*store).await;
            append_and_find(&*store, user, "a", 5).await;
            let mut tasks = JoinSet::new();
            for task in 0..4 {
                let store = std::sync::Arc::clone(&store);
                tasks.spawn(async move {
                    let _ = store.recent(user, 5).await;
                    let _ = store.append(user, 1, message(&format!("m{task}"), "hola")).await;
                    let _ = store.recent(user, 9).await;
                });
            }
            store.erase(user).await.unwrap();
            let found = store.recent(user, 5).await;
            assert!(matches!(found, Err(StoreError::NoSession { .. })), "{}: {found:?}", fixture.name);
            tasks.join_all().await;
            let found = store.recent(user, 5).await;
            assert!(matches!(found, Err(StoreError::NoSession { .. })), "{}: {found:?}", fixture.name);
        }
    }
}
