//! Migration and token key of a database being opened.

use std::time::Duration;

use refinery::embed_migrations;
use tokio::time::timeout;

use super::error::PostgresError;
use super::pool::ConnectionPool;
use super::pooled_connection::PooledConnection;
use crate::error::{OpenError, StoreError};
use crate::keys::{KeyId, Keyring, Sealed, TokenKey};
use crate::migration;

embed_migrations!("migrations/postgres");

/// Timeout of the migrations, by this core or by another one that starts at the same time.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);
/// Acquires the advisory lock of migrations, which the end of the connection releases.
const MIGRATION_LOCK: &str =
    "SET statement_timeout = 0; SET lock_timeout = 0; SELECT pg_advisory_lock(8097879449890646369)";

/// Migrates the schema of `database`.
pub(super) async fn migrate(connections: &ConnectionPool, database: &str) -> Result<(), OpenError> {
    let connection = connections.acquire().await.map_err(|failure| unusable(database, failure.into()))?;
    match timeout(MIGRATION_TIMEOUT, migrate_on(connection, database)).await {
        Ok(migrated) => migrated,
        Err(_) => Err(OpenError::Migration {
            database: database.to_owned(),
            source: format!("not done within {} s", MIGRATION_TIMEOUT.as_secs()).into(),
        }),
    }
}

async fn migrate_on(connection: PooledConnection, database: &str) -> Result<(), OpenError> {
    // Taken out of the pool: dropping it closes the connection and releases the advisory lock.
    let mut client = connection.into_client().expect("a new one has a connection");
    client
        .batch_execute(MIGRATION_LOCK)
        .await
        .map_err(|error| unusable(database, PostgresError::from(error).into()))?;
    let runner = migration::strict(migrations::runner());
    let ran = runner.run_async(&mut *client).await;
    migration::outcome(&runner, database.to_owned(), ran)
}

/// Returns the token key of the database, and generates one for a new database.
pub(super) async fn token_key(connections: &ConnectionPool, keys: &Keyring) -> Result<TokenKey, StoreError> {
    let mut connection = connections.acquire().await?;
    let read = "SELECT key_id, value FROM keys WHERE name = 'resume_tokens'";
    let mut rows = connection.query(read, &[]).await?;
    if rows.is_empty() {
        // Another core may insert first: its key wins, and is read below.
        let Sealed { key, bytes } = TokenKey::random().seal(keys);
        let sql = "INSERT INTO keys (name, key_id, value) VALUES ('resume_tokens', $1, $2) ON CONFLICT DO NOTHING";
        connection.execute(sql, &[&key.map(|id| id.0), &bytes]).await?;
        rows = connection.query(read, &[]).await?;
    }
    let damaged = || StoreError::Damaged("the key of the resume tokens".to_owned());
    let row = rows.first().ok_or_else(damaged)?;
    let key: Option<i64> = row.try_get("key_id").map_err(|_| damaged())?;
    let bytes = row.try_get("value").map_err(|_| damaged())?;
    TokenKey::open(keys, Sealed { key: key.map(KeyId), bytes })
}

/// Converts the error of a database that cannot be opened.
pub(super) fn unusable(database: &str, error: StoreError) -> OpenError {
    let database = database.to_owned();
    match error {
        StoreError::Unavailable(source) => OpenError::Unreachable { database, source },
        source @ (StoreError::Damaged(_) | StoreError::UnknownKey(_) | StoreError::NoSession { .. }) => {
            OpenError::Contents { database, source }
        }
    }
}
