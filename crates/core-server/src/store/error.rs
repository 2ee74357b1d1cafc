//! Why a store did not do what it was asked.

use std::error::Error;

use protocol::UserLabel;

use super::keys::KeyId;

/// Why a call of a [`super::Store`] failed. Shows neither texts nor keys.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The session was erased, here or by another process, or its time was over.
    #[error("session of {user} does not exist")]
    NoSession {
        /// Whose session.
        user: UserLabel,
    },
    /// The database does not do its work now: gone, locked, full or read-only. It may later.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// What the database holds cannot be read, now or later.
    #[error("the database holds what cannot be read: {0}")]
    Damaged(String),
    /// What the database holds was encrypted with a key that is not configured.
    #[error("the database holds texts under key {0}, which is neither DATA_KEY nor in DATA_KEY_PREVIOUS")]
    UnknownKey(KeyId),
}

impl StoreError {
    /// Whether the fault is in what is stored, and so in this row alone: another may be read.
    pub(super) fn is_data_error(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::UnknownKey(_))
    }

    /// The database is not available, because of `error`.
    pub(super) fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Why a store could not be opened: nothing was changed, and the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database cannot be reached, opened or written.
    #[error("cannot open the database {database}: {source}")]
    Unreachable {
        /// Which one, without its password.
        database: String,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another core uses the database, which is made for one.
    #[error(
        "another core-server{} uses {database}: stop it first, set DATABASE_URL to another file, or use PostgreSQL for several cores",
        process(*holder)
    )]
    InUse {
        /// Which one.
        database: String,
        /// Its process, if that is known.
        holder: Option<u32>,
    },
    /// A later version of this program has changed the schema.
    #[error(
        "the database {database} has schema version {found}, this program knows up to {known}: start the version that wrote it, or a later one"
    )]
    Newer {
        /// Which one.
        database: String,
        /// Its version.
        found: i64,
        /// The last version this program knows.
        known: i64,
    },
    /// The schema could not be brought up to date.
    #[error("cannot prepare the tables of {database}: {source}")]
    Migration {
        /// Which one.
        database: String,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Its contents do not open with the configured keys, or are damaged.
    #[error("cannot use the database {database}: {source}")]
    Contents {
        /// Which one.
        database: String,
        /// What went wrong.
        source: StoreError,
    },
}

fn process(holder: Option<u32>) -> String {
    holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
