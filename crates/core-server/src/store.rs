//! Persistence of sessions and their entries.
//!
//! A change is durable when its call returns. [`SqliteStore`] is the default, [`PostgresStore`] serves
//! several cores, [`MemoryStore`] lives as long as its process. All pass one contract suite
//! (`tests/it/store`). No other module may contain SQL.

mod api;
mod content;
mod error;
pub mod keys;
mod memory;
mod metrics;
mod migration;
mod model;
mod postgres;
mod rekey;
mod rows;
mod run_lock;
mod sqlite;
mod url;

use std::sync::Arc;

pub use api::Store;
pub use error::{OpenError, StoreError};
use keys::Keyring;
pub use memory::MemoryStore;
pub use metrics::{DatabaseGauges, DatabaseMeter, DatabaseMetric, PoolUse};
pub use model::{
    Appended, Cutoffs, EntryPosition, NewEntry, NewSession, Page, ReadableEntries, Recent, ReferralBatch,
    ReferralCount, SessionRecord, Summary,
};
pub use postgres::PostgresStore;
pub use rekey::{rekey, upgrade_legacy_entries};
pub use run_lock::RunLock;
pub use sqlite::SqliteStore;
pub use url::{DatabaseUrl, DatabaseUrlError, PostgresUrl};

/// Database settings.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// Address of the database.
    pub url: DatabaseUrl,
    /// Maximum connections to a PostgreSQL server.
    pub max_connections: usize,
    /// Keys for texts at rest.
    pub keys: Keyring,
}

/// Opens the database of `settings` and migrates its schema.
///
/// # Errors
///
/// The database cannot be used, for a reason that the error gives. No stored data is lost.
pub async fn open(settings: DatabaseSettings) -> Result<Arc<dyn Store>, OpenError> {
    match settings.url {
        DatabaseUrl::Sqlite(file) => Ok(Arc::new(SqliteStore::open(&file, settings.keys).await?)),
        DatabaseUrl::Postgres(url) => {
            Ok(Arc::new(PostgresStore::open(&url, settings.max_connections, settings.keys).await?))
        }
    }
}
