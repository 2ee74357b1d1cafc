//! Replacement and removal of summaries.

use store::{Cutoffs, StoreError, Summary};
use tokio::task::JoinSet;

use super::fixture::Fixture;
use super::*;

const TEXT: &str = "nadie debe encontrar esto";

fn summary(first: u64, last: u64) -> Summary {
    Summary { first, last, text: UserText::new(format!("{TEXT} {first}-{last}")) }
}

/// Creates a session with entries 1 to `count`, one step of [`hours`] apart.
async fn talk(store: &dyn Store, count: u64) -> UserLabel {
    let user = session(store).await;
    for seq in 0..count {
        let at = hours(seq.try_into().unwrap());
        store.append(user, seq, message_at(&format!("m{seq}"), "hola", at)).await.unwrap();
    }
    user
}

fn prune_before(hour: i64) -> Cutoffs {
    Cutoffs { now: hours(0), empty_before: hours(0), entries_before: Some(hours(hour)), inactive_before: None }
}

#[tokio::test]
async fn recent_returns_the_summary_across_a_reopen() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let (user, other, empty) = (talk(&*store, 5).await, talk(&*store, 2).await, session(&*store).await);
        let first = store.recent(user, 2).await.unwrap();
        assert_eq!((first.summary, seqs(&first.entries)), (None, vec![4, 5]), "{}", fixture.name);
        assert!(store.put_summary(user, summary(1, 3)).await.unwrap(), "{}", fixture.name);
        drop(store);
        let store = fixture.open().await;
        for (limit, want) in [(0, vec![]), (1, vec![5]), (3, vec![3, 4, 5]), (9, vec![1, 2, 3, 4, 5])] {
            let recent = store.recent(user, limit).await.unwrap();
            assert_eq!(
                (recent.summary, seqs(&recent.entries)),
                (Some(summary(1, 3)), want),
                "{}: {limit}",
                fixture.name
            );
        }
        assert_eq!(store.recent(other, 9).await.unwrap().summary, None, "{}", fixture.name);
        let nothing = store.recent(empty, 9).await.unwrap();
        assert_eq!((nothing.summary, nothing.entries), (None, vec![]), "{}", fixture.name);
    }
}

#[tokio::test]
async fn put_summary_replaces_only_forward_over_existing_messages() {
    // (first, last, whether it is stored), on entries 3 to 6: two were pruned.
    let steps = [
        (2, 4, false), // Includes a pruned message.
        (3, 7, false), // Includes a future message.
        (3, 4, true),
        (3, 4, false),
        (3, 3, false),
        (4, 5, true),
        (3, 5, false),
        (3, 6, true),
    ];
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let user = talk(&*store, 6).await;
        assert_eq!(store.prune(prune_before(2), 99).await.unwrap(), 2, "{}", fixture.name);
        let mut there = None;
        for (first, last, kept) in steps {
            let put = store.put_summary(user, summary(first, last)).await.unwrap();
            assert_eq!(put, kept, "{}: {first} to {last}", fixture.name);
            there = Some(summary(first, last)).filter(|_| kept).or(there);
            assert_eq!(store.recent(user, 1).await.unwrap().summary, there, "{}: {first} to {last}", fixture.name);
        }
        let empty = session(&*store).await;
        assert!(!store.put_summary(empty, summary(1, 1)).await.unwrap(), "{}", fixture.name);
    }
}

#[tokio::test]
async fn summary_is_removed_with_its_first_message_and_session() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        let (old, erased) = (talk(&*store, 6).await, talk(&*store, 2).await);
        assert!(store.put_summary(old, summary(3, 5)).await.unwrap(), "{}", fixture.name);
        assert!(store.put_summary(erased, summary(1, 2)).await.unwrap(), "{}", fixture.name);
        assert_eq!(store.erase(erased).await.unwrap(), 2, "{}: entries alone are counted", fixture.name);
        let late = store.put_summary(erased, summary(1, 2)).await;
        assert!(matches!(late, Err(StoreError::NoSession { user }) if user == erased), "{}: {late:?}", fixture.name);

        assert_eq!(store.prune(prune_before(2), 99).await.unwrap(), 2, "{}", fixture.name);
        assert_eq!(
            store.recent(old, 9).await.unwrap().summary,
            Some(summary(3, 5)),
            "{}: a moment early",
            fixture.name
        );
        assert_eq!(store.prune(prune_before(3), 99).await.unwrap(), 1, "{}", fixture.name);
        assert_eq!(store.recent(old, 9).await.unwrap().summary, None, "{}", fixture.name);
        // Made before its first message was pruned.
        assert!(!store.put_summary(old, summary(3, 6)).await.unwrap(), "{}", fixture.name);
        assert!(store.put_summary(old, summary(4, 6)).await.unwrap(), "{}", fixture.name);
        store.prune(prune_before(99), 99).await.unwrap();
        if fixture.name != "memory" {
            assert_eq!(fixture.sql("SELECT count(*) FROM summaries"), "0", "{}", fixture.name);
            assert_eq!(fixture.sql("SELECT count(*) FROM sessions"), "0", "{}", fixture.name);
        }
    }
}

#[tokio::test]
async fn first_prune_step_removes_the_summary() {
    for fixture in Fixture::databases() {
        let store = fixture.open().await;
        let user = talk(&*store, 6).await;
        assert!(store.put_summary(user, summary(1, 5)).await.unwrap(), "{}", fixture.name);
        assert_eq!(store.prune(prune_before(5), 1).await.unwrap(), 1, "{}", fixture.name);
        assert_eq!(store.recent(user, 9).await.unwrap().summary, None, "{}", fixture.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn furthest_summary_of_two_cores_wins() {
    for fixture in Fixture::databases() {
        let stores = [fixture.open().await, fixture.open().await];
        let user = talk(&*stores[0], 40).await;
        let mut tasks = JoinSet::new();
        for task in 0..8_u64 {
            let store = std::sync::Arc::clone(&stores[usize::from(task % 2 == 1)]);
            tasks.spawn(async move {
                for round in 0..5 {
                    let last = 1 + (task * 5 + round) * 7 % 40;
                    store.put_summary(user, summary(1, last)).await.unwrap();
                    let there = store.recent(user, 1).await.unwrap().summary.unwrap();
                    assert!(last <= there.last, "{} after {last}", there.last);
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(stores[1].recent(user, 1).await.unwrap().summary, Some(summary(1, 40)), "{}", fixture.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_summary_outlives_a_concurrently_removed_session() {
    for fixture in Fixture::databases() {
        let stores = [fixture.open().await, fixture.open().await];
        for round in 0..20 {
            let user = talk(&*stores[0], 4).await;
            let put = async {
                for last in 1..=4 {
                    let _ = stores[0].put_summary(user, summary(1, last)).await;
                }
            };
            let go = async {
                if round % 2 == 0 {
                    stores[1].erase(user).await.unwrap();
                } else {
                    stores[1].prune(prune_before(99), 99).await.unwrap();
                }
            };
            tokio::join!(put, go);
            // The first call skips a locked session.
            stores[1].prune(prune_before(99), 99).await.unwrap();
            assert_eq!(fixture.sql("SELECT count(*) FROM summaries"), "0", "{}: round {round}", fixture.name);
        }
    }
}
