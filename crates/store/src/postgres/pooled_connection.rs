//! Pooled connections and their transactions.

use std::ops::{Deref, DerefMut};

use deadpool::managed::Object;
use deadpool_postgres::ClientWrapper;
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::PostgresError;
use super::pool::{ConnectionManager, RESPONSE_TIMEOUT, ServerConnection};

/// Parameters of a statement.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Connection of the pool. Returned to the pool on drop, unless it is broken or read-only, or a statement or
/// transaction is open: it is then closed, which also rolls back.
#[derive(Debug)]
pub(super) struct PooledConnection {
    /// `None` only while being dropped.
    connection: Option<Object<ConnectionManager>>,
    is_reusable: bool,
    transaction: TransactionState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TransactionState {
    None,
    Open,
    /// A statement failed: the server accepts only a rollback.
    Failed,
}

impl PooledConnection {
    pub(super) fn new(connection: Object<ConnectionManager>) -> Self {
        Self { connection: Some(connection), is_reusable: true, transaction: TransactionState::None }
    }

    /// Returns whether the server accepted writes when last seen. If not, it may be a lagging standby: a
    /// missing row proves nothing.
    pub(super) fn may_write(&self) -> bool {
        self.connection().may_write
    }

    /// Runs a statement, which is prepared once per connection.
    pub(super) async fn query(&mut self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, PostgresError> {
        self.run(async |client| {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, parameters).await
        })
        .await
    }

    /// Runs a statement without result rows; returns the number of affected rows.
    pub(super) async fn execute(&mut self, sql: &str, parameters: Parameters<'_>) -> Result<u64, PostgresError> {
        self.run(async |client| {
            let statement = client.prepare_cached(sql).await?;
            client.execute(&statement, parameters).await
        })
        .await
    }

    /// Runs statements in one round trip and one transaction; returns the affected rows of each.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<Vec<u64>, PostgresError> {
        use tokio_postgres::SimpleQueryMessage::CommandComplete;
        let messages = self.run(async |client| client.simple_query(sql).await).await?;
        Ok(messages
            .iter()
            .filter_map(|message| if let CommandComplete(rows) = message { Some(*rows) } else { None })
            .collect())
    }

    /// Begins a transaction, which is rolled back without [`Transaction::commit`].
    pub(super) async fn begin(&mut self) -> Result<Transaction<'_>, PostgresError> {
        self.batch("BEGIN").await?;
        self.transaction = TransactionState::Open;
        Ok(Transaction { connection: self })
    }

    /// Fails if the server does not accept writes; then closes this connection and the idle ones.
    pub(super) async fn prove_writable(&mut self) -> Result<(), PostgresError> {
        let sql = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only";
        let rows = self.query(sql, &[]).await?;
        if rows.first().is_some_and(|row| matches!(row.try_get("read_only"), Ok(false))) {
            return Ok(());
        }
        self.mark_read_only();
        Err(PostgresError::new("the server only reads now: a standby, or default_transaction_read_only is on"))
    }

    /// Takes the connection out of the pool.
    pub(super) fn into_client(mut self) -> Option<ClientWrapper> {
        self.connection.take().map(|connection| Object::take(connection).client)
    }

    async fn run<T>(
        &mut self,
        call: impl AsyncFnOnce(&ClientWrapper) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, PostgresError> {
        // Set before the await: a dropped future leaves an open statement.
        self.is_reusable = false;
        let answer = match timeout(RESPONSE_TIMEOUT, call(&self.connection().client)).await {
            Ok(answer) => answer.map_err(PostgresError::from),
            Err(_) => Err(PostgresError::new(format!("no answer within {} s", RESPONSE_TIMEOUT.as_secs()))),
        };
        if answer.is_err() && self.transaction == TransactionState::Open {
            self.transaction = TransactionState::Failed;
        }
        if answer.as_ref().is_err_and(PostgresError::is_read_only) {
            self.mark_read_only();
        }
        self.is_reusable = answer.as_ref().map_or_else(PostgresError::is_unique_violation, |_| true);
        answer
    }

    /// Also closes the idle connections: each of them would fail one message before being noticed.
    fn mark_read_only(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.may_write = false;
            if let Some(pool) = Object::pool(connection) {
                pool.retain(|_, _| false);
            }
        }
    }

    fn connection(&self) -> &ServerConnection {
        self.connection.as_ref().expect("a lease has its connection until it is dropped")
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        let is_reusable = self.is_reusable
            && self.transaction == TransactionState::None
            && self.connection.as_ref().is_some_and(|connection| connection.may_write);
        if !is_reusable {
            drop(self.connection.take().map(Object::take));
        }
    }
}

/// Open transaction. If it is dropped without [`Transaction::commit`] its connection is closed, which rolls
/// back: the next user of the connection must not write into a transaction that is never committed.
#[derive(Debug)]
pub(super) struct Transaction<'connection> {
    connection: &'connection mut PooledConnection,
}

impl Transaction<'_> {
    /// Commits durably. Fails if a statement has failed: the server would turn the commit into a rollback
    /// without an error.
    pub(super) async fn commit(self) -> Result<(), PostgresError> {
        if self.connection.transaction == TransactionState::Failed {
            return Err(PostgresError::new("the transaction was rolled back"));
        }
        self.connection.batch("COMMIT").await?;
        self.connection.transaction = TransactionState::None;
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = PooledConnection;

    fn deref(&self) -> &PooledConnection {
        self.connection
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut PooledConnection {
        self.connection
    }
}
