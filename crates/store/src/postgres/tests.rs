//! Pooled connections against a real server.

use std::time::Duration;

use protocol::SessionId;
use testkit::postgres::Postgres;
use testkit::watchdog::until;
use tokio::time::timeout;

use super::*;

const PIDS: &str = "SELECT coalesce(string_agg(pid::text, ',' ORDER BY pid), '') FROM pg_stat_activity \
                    WHERE application_name = 'psicoia'";

async fn open(server: &Postgres, connections: usize) -> PostgresStore {
    let url = server.create_database("it").unwrap().parse().unwrap();
    PostgresStore::open(&url, connections, Keyring::default()).await.unwrap()
}

fn new_session() -> NewSession {
    NewSession {
        id: SessionId::random(),
        token: ResumeToken::random(),
        locale: Locale::default(),
        country: None,
        created_at: Timestamp::from_unix_ms(0),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_call_completes_and_returns_its_connection() {
    const CONNECTIONS: usize = 2;
    let server = Postgres::start_new().unwrap();
    let store = open(&server, CONNECTIONS).await;
    let user = store.create_session(new_session()).await.unwrap().user;
    drop([store.connections.acquire().await.unwrap(), store.connections.acquire().await.unwrap()]);
    let before = server.sql("it", PIDS).unwrap();
    for _ in 0..3 {
        std::thread::scope(|scope| {
            // Every call blocks on this lock until all callers are dropped.
            let hold = "BEGIN; LOCK sessions; SELECT pg_sleep(60); COMMIT";
            let holder = scope.spawn(|| server.sql("it", hold));
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    let held = "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
                    until(async || server.sql("it", held).unwrap() == "t").await.unwrap();
                    for _ in 0..20 {
                        let read = store.entries(user, Page::After { seq: 0, limit: 1 });
                        assert!(timeout(Duration::from_millis(1), read).await.is_err());
                    }
                    assert!(
                        timeout(Duration::from_millis(1), store.set_locale(user, Locale::default())).await.is_err()
                    );
                });
            });
            let release = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            assert_eq!(server.sql("it", release).unwrap(), "t");
            assert!(holder.join().unwrap().is_err(), "cancelled");
        });
        until(async || store.connections.usage().0.idle == CONNECTIONS).await.unwrap();
        store.entries(user, Page::After { seq: 0, limit: 1 }).await.unwrap();
        assert_eq!(server.sql("it", PIDS).unwrap(), before);
    }
}

#[tokio::test]
async fn connection_with_an_open_transaction_is_closed() {
    /// Abandons a transaction by an early return.
    async fn leave(connection: &mut PooledConnection, statement: &str) -> Result<(), StoreError> {
        let mut transaction = connection.begin().await?;
        transaction.batch(statement).await?;
        Err(StoreError::Damaged("a number".to_owned()))
    }
    let server = Postgres::start_new().unwrap();
    let store = open(&server, 1).await;
    let pid = async |connection: &mut PooledConnection| {
        connection.query("SELECT pg_backend_pid()", &[]).await.unwrap()[0].get::<_, i32>(0)
    };
    let insert = "INSERT INTO keys (name, value) VALUES ('left', '')";
    for statement in [insert, "SELECT 1", "SELECT broken"] {
        let mut connection = store.connections.acquire().await.unwrap();
        let first = pid(&mut connection).await;
        leave(&mut connection, statement).await.unwrap_err();
        if statement != "SELECT broken" {
            // A later successful statement must not make it reusable.
            assert_eq!(pid(&mut connection).await, first);
        }
        drop(connection);
        let mut connection = store.connections.acquire().await.unwrap();
        assert_ne!(pid(&mut connection).await, first, "{statement}");
        let rows = connection.query("SELECT FROM keys WHERE name = 'left'", &[]).await.unwrap();
        assert!(rows.is_empty(), "{statement}");
    }
    // After a commit the connection is reused and the row is stored.
    let mut connection = store.connections.acquire().await.unwrap();
    let first = pid(&mut connection).await;
    let mut transaction = connection.begin().await.unwrap();
    transaction.batch(insert).await.unwrap();
    transaction.commit().await.unwrap();
    drop(connection);
    let mut connection = store.connections.acquire().await.unwrap();
    assert_eq!(pid(&mut connection).await, first);
    assert_eq!(connection.query("SELECT FROM keys WHERE name = 'left'", &[]).await.unwrap().len(), 1);
    // A unique violation does not break a connection, except within a transaction: its commit would roll back.
    let mut transaction = connection.begin().await.unwrap();
    assert!(transaction.batch(insert).await.unwrap_err().is_unique_violation());
    assert!(transaction.commit().await.is_err());
    drop(connection);
    let mut connection = store.connections.acquire().await.unwrap();
    assert_ne!(pid(&mut connection).await, first);
}

#[tokio::test]
async fn connects_to_the_server_that_accepts_writes() {
    let (standby, primary) = (Postgres::start_new().unwrap(), Postgres::start_new().unwrap());
    for server in [&standby, &primary] {
        server.create_database("it").unwrap();
    }
    let (first, second) = (standby.port(), primary.port());
    let url = format!("postgres://postgres@127.0.0.1:{first},127.0.0.1:{second}/it").parse().unwrap();
    standby.sql("postgres", "ALTER DATABASE it SET default_transaction_read_only = on").unwrap();
    let store = PostgresStore::open(&url, 2, Keyring::default()).await.unwrap();
    store.create_session(new_session()).await.unwrap();
    store.check().await.unwrap();
    assert_eq!(primary.sql("it", "SELECT count(*) FROM sessions").unwrap(), "1");
}

#[tokio::test]
async fn read_only_connections_are_closed_and_prove_no_absence() {
    let server = Postgres::start_new().unwrap();
    let store = open(&server, 3).await;
    let user = store.create_session(new_session()).await.unwrap().user;
    let [one, two, three] =
        [store.connections.acquire().await, store.connections.acquire().await, store.connections.acquire().await];
    drop((one.unwrap(), two.unwrap(), three.unwrap()));
    // A configuration reload makes open connections read-only.
    let only_reads = |on| {
        server.sql("postgres", &format!("ALTER SYSTEM SET default_transaction_read_only = {on}")).unwrap();
        server.sql("postgres", "SELECT pg_reload_conf()").unwrap();
    };
    only_reads("on");
    let seen = until(async || store.check().await.is_err()).await;
    seen.unwrap();
    let error = store.check().await.unwrap_err().to_string();
    assert!(error.contains("only reads"), "{error}");
    until(async || server.sql("it", PIDS).unwrap().is_empty()).await.unwrap();
    let absent = store.session_by_token(&ResumeToken::random()).await;
    assert!(matches!(absent, Err(StoreError::Unavailable(_))), "{absent:?}");
    let absent = store.entries(UserLabel(99), Page::After { seq: 0, limit: 1 }).await;
    assert!(matches!(absent, Err(StoreError::Unavailable(_))), "{absent:?}");
    assert!(store.entries(user, Page::After { seq: 0, limit: 1 }).await.unwrap().is_empty());
    until(async || server.sql("it", PIDS).unwrap().is_empty()).await.unwrap();
    only_reads("off");
    until(async || store.check().await.is_ok()).await.unwrap();
    store.set_locale(user, Locale::default()).await.unwrap();
    assert!(store.session_by_token(&ResumeToken::random()).await.unwrap().is_none());
}
