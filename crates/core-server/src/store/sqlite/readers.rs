//! Connections that read, beside the one that writes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::connection;
use crate::store::StoreError;

/// Reads at once. More would wait for the processor or the disk all the same.
const READERS: usize = 4;

#[derive(Debug)]
pub(super) struct Readers {
    file: PathBuf,
    /// Reads that may begin; the rest waits in order.
    permits: Semaphore,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, permits: Semaphore::new(READERS), idle: Arc::default() }
    }

    /// Runs `query` on a thread where it may take its time.
    pub(super) async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let idle = Arc::clone(&self.idle);
        let db = lock(&idle).pop();
        let file = db.is_none().then(|| self.file.clone());
        let reading = spawn_blocking(move || {
            let db = match (db, file) {
                (Some(db), _) => db,
                (None, file) => connection::reader(&file.unwrap_or_default())?,
            };
            let found = query(&db);
            // After an error the next read begins with a connection of its own.
            if found.is_ok() {
                lock(&idle).push(db);
            }
            found
        });
        reading.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
