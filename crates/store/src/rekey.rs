//! Re-encryption of all stored data.

use std::time::Duration;

use tokio::time::sleep;

use super::api::Store;
use super::error::StoreError;
use super::model::EntryPosition;

/// Entries re-encrypted per call.
const BATCH: usize = 200;

/// Re-encrypts everything under the current key, or decrypts it if there is none. Cores may use the
/// database meanwhile.
///
/// # Errors
///
/// The database is not available, or a text is sealed under a key that is not configured; everything
/// before it is done.
///
/// # Cancel safety
///
/// May be interrupted and run again.
pub async fn rekey(store: &dyn Store) -> Result<(), StoreError> {
    let mut done: Option<EntryPosition> = None;
    let mut batches = 0_usize;
    while let Some(position) = store.reencrypt(done, BATCH).await? {
        done = Some(position);
        batches += 1;
        tracing::info!(batches, user = %position.user, "batch re-encrypted");
    }
    Ok(())
}

/// Re-encrypts entries that an earlier version stored with their role in plain, with a `pause` after each
/// batch, so that cores are not slowed down. Does nothing once none is left.
///
/// # Errors
///
/// The database is not available, or a text is sealed under a key that is not configured.
///
/// # Cancel safety
///
/// May be interrupted and run again.
pub async fn upgrade_legacy_entries(store: &dyn Store, pause: Duration) -> Result<(), StoreError> {
    let mut done: Option<EntryPosition> = None;
    while let Some(position) = store.reencrypt_legacy(done, BATCH).await? {
        if done.replace(position).is_none() {
            tracing::info!("re-encrypting entries of an earlier version");
        }
        sleep(pause).await;
    }
    if done.is_some() {
        tracing::info!("entries of an earlier version re-encrypted");
    }
    Ok(())
}
