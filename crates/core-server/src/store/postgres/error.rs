//! Errors of the server and of the way to it.

use std::error::Error;

use deadpool::managed::{PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

use crate::store::StoreError;

/// Error of a statement, a connection or the pool. Has neither parameters nor rows in it.
#[derive(Debug)]
pub(super) struct PostgresError {
    code: Option<SqlState>,
    what: String,
}

impl PostgresError {
    /// An error without a code of the server's.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { code: None, what: what.into() }
    }

    /// An entry with that key is there.
    pub(super) fn is_unique_violation(&self) -> bool {
        self.code == Some(SqlState::UNIQUE_VIOLATION)
    }

    /// Whether the server refuses every write on this connection: a standby, or a database whose
    /// owner says so. Another connection may lead to another server.
    pub(super) fn is_read_only(&self) -> bool {
        self.code == Some(SqlState::READ_ONLY_SQL_TRANSACTION)
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // Not its detail, which may repeat what a row holds.
            Some(said) => Self {
                code: Some(said.code().clone()),
                what: format!("{} (SQLSTATE {})", said.message(), said.code().code()),
            },
            None => Self::new(with_causes(&error)),
        }
    }
}

impl PostgresError {
    /// The failure of a pool that waits for a connection as long as `limit_seconds`.
    pub(super) fn of_pool(error: PoolError<tokio_postgres::Error>, limit_seconds: u64) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(TimeoutType::Wait) => Self::new("every connection is in use"),
            PoolError::Timeout(_) => Self::new(format!("no connection within {limit_seconds} s")),
            error @ (PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => {
                Self::new(error.to_string())
            }
        }
    }
}

impl From<PostgresError> for StoreError {
    fn from(PostgresError { code, what }: PostgresError) -> Self {
        match code {
            Some(SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED) => Self::Damaged(what),
            _ => Self::unavailable(what),
        }
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
