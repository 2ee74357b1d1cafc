//! Making the database ready.

use std::time::Duration;

use refinery::embed_migrations;
use tokio::time::timeout;

use super::failure::Failure;
use super::lease::Lease;
use super::pool::Connections;
use crate::store::keys::{KeyId, Keyring, Sealed, TokenKey};
use crate::store::{OpenError, StoreError, migration};

embed_migrations!("migrations/postgres");

/// How long the tables may take to be brought up to date, by this core or by another one that
/// starts at the same time.
const MIGRATION_LIMIT: Duration = Duration::from_secs(600);
/// Held by the one core that changes the tables; ends with its connection.
const LOCK: &str = "SET statement_timeout = 0; SET lock_timeout = 0; SELECT pg_advisory_lock(8097879449890646369)";

/// Brings the tables of `database` up to date.
pub(super) async fn migrate(connections: &Connections, database: &str) -> Result<(), OpenError> {
    let lease = connections.lease().await.map_err(|failure| unusable(database, failure.into()))?;
    match timeout(MIGRATION_LIMIT, migrate_on(lease, database)).await {
        Ok(migrated) => migrated,
        Err(_) => Err(OpenError::Migration {
            database: database.to_owned(),
            source: format!("not done within {} s", MIGRATION_LIMIT.as_secs()).into(),
        }),
    }
}

async fn migrate_on(lease: Lease, database: &str) -> Result<(), OpenError> {
    // Closed at the end, and with it the lock is open.
    let mut client = lease.into_client().expect("a new lease has a connection");
    client.batch_execute(LOCK).await.map_err(|error| unusable(database, Failure::from(error).into()))?;
    let runner = migration::strict(migrations::runner());
    let ran = runner.run_async(&mut *client).await;
    migration::outcome(&runner, database.to_owned(), ran)
}

/// The key of this database's resume tokens; a new database gets one.
pub(super) async fn token_key(connections: &Connections, keys: &Keyring) -> Result<TokenKey, StoreError> {
    let mut lease = connections.lease().await?;
    let read = "SELECT key_id, value FROM keys WHERE name = 'resume_tokens'";
    let mut rows = lease.query(read, &[]).await?;
    if rows.is_empty() {
        // Another core may be faster: then its key counts.
        let Sealed { key, bytes } = TokenKey::random().seal(keys);
        let sql = "INSERT INTO keys (name, key_id, value) VALUES ('resume_tokens', $1, $2) ON CONFLICT DO NOTHING";
        lease.execute(sql, &[&key.map(|id| id.0), &bytes]).await?;
        rows = lease.query(read, &[]).await?;
    }
    let damaged = || StoreError::Damaged("the key of the resume tokens".to_owned());
    let row = rows.first().ok_or_else(damaged)?;
    let key: Option<i64> = row.try_get("key_id").map_err(|_| damaged())?;
    let bytes = row.try_get("value").map_err(|_| damaged())?;
    TokenKey::open(keys, Sealed { key: key.map(KeyId), bytes })
}

/// Why a program cannot start with `database`.
pub(super) fn unusable(database: &str, error: StoreError) -> OpenError {
    let database = database.to_owned();
    match error {
        StoreError::Unavailable(source) => OpenError::Unreachable { database, source },
        source @ (StoreError::Damaged(_) | StoreError::UnknownKey(_) | StoreError::NoSession { .. }) => {
            OpenError::Contents { database, source }
        }
    }
}
