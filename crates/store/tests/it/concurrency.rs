//! Concurrent calls.

use std::collections::BTreeSet;

use store::Page;
use tokio::task::JoinSet;

use super::fixture::Fixture;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_are_numbered_without_gaps() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let mut users = Vec::new();
        for _ in 0..16 {
            users.push(session(&*store).await);
        }
        let mut tasks = JoinSet::new();
        for task in 0..64 {
            let (store, user) = (std::sync::Arc::clone(&store), users[task % users.len()]);
            tasks.spawn(async move {
                for index in 0..5 {
                    let appended = store.append(user, 0, message(&format!("m{task}-{index}"), "hola")).await;
                    new(appended.unwrap());
                }
            });
        }
        tasks.join_all().await;
        for user in users {
            let entries = store.entries(user, Page::After { seq: 0, limit: 999 }).await.unwrap();
            assert_eq!(seqs(&entries), (1..=20).collect::<Vec<_>>(), "{}", fixture.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_cores_append_to_one_session_without_gaps() {
    let fixture = Fixture::postgres("postgres, sealed", super::fixture::keyring(Some(1), &[]));
    let stores = [fixture.open().await, fixture.open().await];
    let user = session(&*stores[0]).await;
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let store = std::sync::Arc::clone(&stores[task % 2]);
        tasks.spawn(async move {
            let mut after = 0;
            let mut given = Vec::new();
            for index in 0..200 {
                let entry = new(store.append(user, after, message(&format!("m{task}-{index}"), "hola")).await.unwrap());
                after = entry.seq;
                given.push(entry.seq);
            }
            given
        });
    }
    let given: BTreeSet<u64> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(given, (1..=1_600).collect());
    let entries = stores[1].entries(user, Page::After { seq: 0, limit: 9_999 }).await.unwrap();
    assert_eq!(seqs(&entries), (1..=1_600).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_retries_store_one_entry_and_one_erase_wins() {
    for fixture in Fixture::databases() {
        let stores = [fixture.open().await, fixture.open().await];
        let user = session(&*stores[0]).await;
        let mut tasks = JoinSet::new();
        for task in 0..16 {
            let store = std::sync::Arc::clone(&stores[task % 2]);
            tasks.spawn(async move { store.append(user, 0, message("same", "hola")).await.unwrap() });
        }
        let stored = tasks.join_all().await;
        assert_eq!(
            stored.iter().filter(|appended| matches!(appended, Appended::New(_))).count(),
            1,
            "{}",
            fixture.name
        );

        let mut tasks = JoinSet::new();
        for task in 0..16 {
            let store = std::sync::Arc::clone(&stores[task % 2]);
            tasks.spawn(async move {
                let _ = store.append(user, 1, message(&format!("m{task}"), "hola")).await;
                store.erase(user).await.is_ok()
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|erased| *erased).count(), 1, "{}", fixture.name);
        assert_eq!(fixture.sql("SELECT count(*) FROM entries"), "0", "{}: nothing is left behind", fixture.name);
    }
}
