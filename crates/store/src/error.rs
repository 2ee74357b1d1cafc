//! Errors of stores.

use std::error::Error;

use protocol::UserLabel;

use super::key_id::KeyId;

/// Error of a call to a [`super::Store`]. Shows neither texts nor keys.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The session was erased or removed by retention, perhaps by another process.
    #[error("session of {user} does not exist")]
    NoSession {
        /// Primary key of the session.
        user: UserLabel,
    },
    /// Temporary failure: the database is unreachable, locked, full or read-only.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// Permanent failure: stored data is damaged.
    #[error("the database holds what cannot be read: {0}")]
    Damaged(String),
    /// Stored data is sealed under a key that is not configured.
    #[error("the database holds texts under key {0}, which is neither DATA_KEY nor in DATA_KEY_PREVIOUS")]
    UnknownKey(KeyId),
}

impl StoreError {
    /// Returns whether the failure concerns stored data, and so one row: others may be readable.
    pub(super) fn is_data_error(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::UnknownKey(_))
    }

    /// Wraps the cause of a temporary failure.
    pub(super) fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Error of opening a store. No stored data was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be reached, opened or written.
    #[error("cannot open the database {database}: {source}")]
    Unreachable {
        /// Address, without its password.
        database: String,
        /// Cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another core uses the SQLite file.
    #[error(
        "another core-server{} uses {database}: stop it first, set DATABASE_URL to another file, or use PostgreSQL for several cores",
        process(*holder)
    )]
    InUse {
        /// Address.
        database: String,
        /// Process id of the other core, if known.
        holder: Option<u32>,
    },
    /// The schema was migrated by a later version of this program.
    #[error(
        "the database {database} has schema version {found}, this program knows up to {known}: start the version that wrote it, or a later one"
    )]
    Newer {
        /// Address.
        database: String,
        /// Version of its schema.
        found: i64,
        /// Last version known to this program.
        known: i64,
    },
    /// A migration failed.
    #[error("cannot prepare the tables of {database}: {source}")]
    Migration {
        /// Address.
        database: String,
        /// Cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Stored data is damaged or sealed under keys that are not configured.
    #[error("cannot use the database {database}: {source}")]
    Contents {
        /// Address.
        database: String,
        /// Cause.
        source: StoreError,
    },
}

fn process(holder: Option<u32>) -> String {
    holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
