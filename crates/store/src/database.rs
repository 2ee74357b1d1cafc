//! Choice of a store by the URL of the database.

use std::sync::Arc;

use crate::api::Store;
use crate::error::OpenError;
use crate::keys::Keyring;
use crate::postgres::PostgresStore;
use crate::sqlite::SqliteStore;
use crate::url::DatabaseUrl;

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
