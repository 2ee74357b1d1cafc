//! Changing the key of everything that is stored.

use std::time::Duration;

use tokio::time::sleep;

use super::{EntryPosition, Store, StoreError};

/// Entries written anew at once.
const BATCH: usize = 200;

/// Writes every text that is not under the current key anew: under it, or plain where there
/// is none. Others may use the database meanwhile. Can be broken off and run again.
///
/// # Errors
///
/// The database is not available, or holds a text under a key that is not configured; what
/// came before it is under the current key.
pub async fn rekey(store: &dyn Store) -> Result<(), StoreError> {
    let mut done: Option<EntryPosition> = None;
    let mut batches = 0_usize;
    while let Some(place) = store.reencrypt(done, BATCH).await? {
        done = Some(place);
        batches += 1;
        tracing::info!(batches, user = %place.user, "batch re-encrypted");
    }
    Ok(())
}

/// Writes anew what an earlier version wrote with the roles of entries in the clear. Others may use the
/// database meanwhile. Can be broken off and run again; does nothing where nothing is left.
///
/// # Errors
///
/// The database is not available, or holds a text under a key that is not configured.
pub async fn upgrade_legacy_entries(store: &dyn Store, pause: Duration) -> Result<(), StoreError> {
    let mut done: Option<EntryPosition> = None;
    while let Some(place) = store.reencrypt_legacy(done, BATCH).await? {
        if done.replace(place).is_none() {
            tracing::info!("re-encrypting entries of an earlier version");
        }
        sleep(pause).await;
    }
    if done.is_some() {
        tracing::info!("entries of an earlier version re-encrypted");
    }
    Ok(())
}
