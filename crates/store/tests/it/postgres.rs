//! Failures of a database server: restarts, hangs, read-only mode, later schemas.

use std::sync::Arc;
use std::time::Duration;

use store::keys::Keyring;
use store::{OpenError, Page, PostgresStore, PostgresUrl, StoreError};
use testkit::postgres::{Postgres, Stop};
use testkit::watchdog::until;
use tokio::time::{Instant, sleep};

use super::*;

const FROM_START: Page = Page::After { seq: 0, limit: 9_999 };

async fn open(url: &str, connections: usize) -> Result<PostgresStore, OpenError> {
    let url: PostgresUrl = url.parse().unwrap();
    PostgresStore::open(&url, connections, Keyring::default()).await
}

fn is_unavailable<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}

/// Waits until a query returns true.
async fn until_true(server: &Postgres, question: &str) {
    let answer = until(async || server.sql("it", question).unwrap() == "t").await;
    answer.unwrap_or_else(|expired| panic!("{question}: {expired}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn server_restarts_lose_no_accepted_entry() {
    let mut server = Postgres::start_new().unwrap();
    let store = Arc::new(open(&server.create_database("it").unwrap(), 4).await.unwrap());
    let user = session(&*store).await;
    store.append(user, 0, message("before", "hola")).await.unwrap();

    // Restart between calls: idle connections break unnoticed.
    server.restart(Stop::Immediate).unwrap();
    until(async || !is_unavailable(&store.check().await)).await.unwrap();

    // Calls fail fast while it is down.
    server.stop(Stop::Fast);
    let asked = Instant::now();
    assert!(is_unavailable(&store.append(user, 1, message("away", "hola")).await));
    assert!(is_unavailable(&store.check().await));
    assert!(asked.elapsed() < Duration::from_secs(4));
    server.start().unwrap();

    // Restart during calls.
    let writer = {
        let store = Arc::clone(&store);
        async move {
            let (mut accepted, mut refused) = (Vec::new(), 0);
            let mut after = 1;
            for index in 0.. {
                let name = format!("m{index}");
                loop {
                    match store.append(user, after, message(&name, "hola")).await {
                        Ok(Appended::New(Entry { seq, .. }) | Appended::Existing { seq }) => break after = seq,
                        Ok(Appended::Forgotten(forgotten)) => panic!("{forgotten:?}"),
                        Err(StoreError::Unavailable(_)) => refused += 1,
                        Err(error) => panic!("{error}"),
                    }
                    sleep(Duration::from_millis(5)).await;
                }
                accepted.push(name);
                if 20 < accepted.len() && 0 < refused && store.check().await.is_ok() {
                    break;
                }
            }
            (accepted, refused)
        }
    };
    let writing = tokio::task::JoinSet::from_iter([writer]);
    until_true(&server, "SELECT 4 < count(*) FROM entries").await;
    server.restart(Stop::Immediate).unwrap();
    let (accepted, refused) = writing.join_all().await.remove(0);
    assert!(0 < refused);
    let stored = store.entries(user, FROM_START).await.unwrap();
    let names: Vec<_> = stored.iter().skip(1).map(|entry| entry.id.to_string()).collect();
    assert_eq!(names, accepted);
    assert_eq!(seqs(&stored), (1..=stored.len() as u64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_to_a_frozen_server_time_out() {
    let server = Postgres::start_new().unwrap();
    let store = open(&server.create_database("it").unwrap(), 1).await.unwrap();
    store.check().await.unwrap();
    server.freeze(true).unwrap();
    let asked = Instant::now();
    let (first, second) = tokio::join!(store.check(), store.check());
    assert!(is_unavailable(&first) && is_unavailable(&second), "{first:?} {second:?}");
    let third = store.check().await;
    assert!(is_unavailable(&third), "{third:?}");
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    server.freeze(false).unwrap();
    store.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_opens_migrate_once() {
    let server = Postgres::start_new().unwrap();
    for round in 0..3 {
        let url = server.create_database(&format!("it{round}")).unwrap();
        let (one, other) = tokio::join!(open(&url, 2), open(&url, 2));
        let (one, other) = (one.unwrap(), other.unwrap());
        let made = new_session(hours(0));
        let user = one.create_session(made.clone()).await.unwrap().user;
        // Both use the same token key.
        assert_eq!(other.session_by_token(&made.token).await.unwrap().map(|found| found.user), Some(user));
    }
}

#[tokio::test]
async fn rejects_a_later_schema() {
    let server = Postgres::start_new().unwrap();
    let url = server.create_database("it").unwrap();
    drop(open(&url, 1).await.unwrap());
    let later =
        "INSERT INTO refinery_schema_history SELECT 99, 'later', applied_on, '1' FROM refinery_schema_history LIMIT 1";
    server.sql("it", later).unwrap();
    let error = open(&url, 1).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
    // The server notices the closed connection with a delay.
    until_true(&server, "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'").await;
}

#[tokio::test]
async fn read_only_database_is_unavailable_for_writes_and_recovers() {
    let server = Postgres::start_new().unwrap();
    let store = open(&server.create_database("it").unwrap(), 2).await.unwrap();
    let user = session(&store).await;
    let read_only = |on| format!("ALTER DATABASE it SET default_transaction_read_only = {on}");
    server.sql("it", &read_only("on")).unwrap();
    let close = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'psicoia'";
    server.sql("it", close).unwrap();
    // This call may fail on the terminated connection.
    let _ = store.check().await;
    let refused = store.append(user, 0, message("a", "hola")).await;
    assert!(is_unavailable(&refused), "{refused:?}");
    assert!(store.entries(user, FROM_START).await.unwrap().is_empty());
    let down = store.check().await;
    assert!(down.as_ref().is_err_and(|error| error.to_string().contains("only reads")), "{down:?}");
    server.sql("postgres", &read_only("off")).unwrap();
    // Recovers by itself, since a read-only connection is not reused.
    new(store.append(user, 0, message("a", "hola")).await.unwrap());
}

#[tokio::test]
async fn open_errors_name_the_server_without_the_password() {
    let server = Postgres::start_new().unwrap();
    server.sql("postgres", "CREATE ROLE locked LOGIN PASSWORD 's3cret'").unwrap();
    let port = server.port();
    let place = format!("127.0.0.1:{port}");
    let cases = [
        (format!("postgres://locked:wr0ng@{place}/postgres"), "password authentication failed"),
        (format!("postgres://postgres:wr0ng@{place}/none"), "\"none\" does not exist"),
        (format!("postgres://postgres:wr0ng@{place}/postgres?sslmode=require"), "TLS"),
        ("postgres://postgres:wr0ng@127.0.0.1:1/postgres".to_owned(), "refused"),
        ("postgres://postgres:wr0ng@host.invalid/postgres".to_owned(), "host.invalid"),
    ];
    for (url, words) in cases {
        let error = open(&url, 1).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, OpenError::Unreachable { .. }), "{url}: {text}");
        assert!(text.contains(words) && !text.contains("wr0ng"), "{url}: {text}");
        assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pool_exhaustion_is_reported() {
    let server = Postgres::start_new().unwrap();
    let store = open(&server.create_database("it").unwrap(), 1).await.unwrap();
    let user = session(&store).await;
    // Another session locks the row, which keeps the only pooled connection in use.
    let hold = "BEGIN; SELECT FROM sessions FOR UPDATE; SELECT pg_sleep(60); COMMIT";
    let give_back = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let server = Arc::new(server);
    let holder = std::thread::spawn({
        let server = Arc::clone(&server);
        move || server.sql("it", hold).unwrap_err()
    });
    until_true(&server, "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'").await;
    let late = async {
        let waits =
            "SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'psicoia' AND wait_event_type = 'Lock'";
        until_true(&server, waits).await;
        let refused = store.check().await;
        assert_eq!(server.sql("it", give_back).unwrap(), "t");
        refused
    };
    let (appended, refused) = tokio::join!(store.append(user, 0, message("a", "hola")), late);
    assert!(is_unavailable(&refused), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("in use"));
    new(appended.unwrap());
    store.check().await.unwrap();
    holder.join().unwrap();
}
