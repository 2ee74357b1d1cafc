//! Errors of the server and of connections to it.

use std::error::Error;

use deadpool::managed::{PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

use crate::error::StoreError;

/// Error of a statement, a connection or the pool. Must not contain parameters or rows.
#[derive(Debug)]
pub(super) struct PostgresError {
    code: Option<SqlState>,
    message: String,
}

impl PostgresError {
    /// Creates an error without an SQLSTATE.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { code: None, message: message.into() }
    }

    /// Returns whether a row with the same unique key exists.
    pub(super) fn is_unique_violation(&self) -> bool {
        self.code == Some(SqlState::UNIQUE_VIOLATION)
    }

    /// Returns whether the server refuses every write on this connection: it is a standby, or the database is set
    /// to read-only. Another connection may lead to another server.
    pub(super) fn is_read_only(&self) -> bool {
        self.code == Some(SqlState::READ_ONLY_SQL_TRANSACTION)
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // Without the detail, which may repeat values of a row.
            Some(db_error) => Self {
                code: Some(db_error.code().clone()),
                message: format!("{} (SQLSTATE {})", db_error.message(), db_error.code().code()),
            },
            None => Self::new(with_causes(&error)),
        }
    }
}

impl PostgresError {
    /// Converts an error of the pool, whose timeout is `limit_seconds`.
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
    fn from(PostgresError { code, message }: PostgresError) -> Self {
        match code {
            Some(SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED) => Self::Damaged(message),
            _ => Self::unavailable(message),
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
