//! Pool of read connections.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::connection::{self, DatabaseFile};
use crate::error::StoreError;

/// Maximum concurrent reads. More would only wait for the processor or the disk.
const READERS: usize = 4;

#[derive(Debug)]
pub(super) struct Readers {
    file: Arc<DatabaseFile>,
    /// Limits the running reads; later ones wait in order. A permit is held until its connection is
    /// returned, so that connections never outnumber permits.
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(file: Arc<DatabaseFile>) -> Self {
        Self { file, permits: Arc::new(Semaphore::new(READERS)), idle: Arc::default() }
    }

    /// Runs `query` on a blocking thread.
    ///
    /// # Cancel safety
    ///
    /// A dropped call does not stop a running query, which keeps its permit until it ends.
    pub(super) async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let (idle, file) = (Arc::clone(&self.idle), Arc::clone(&self.file));
        let reading = spawn_blocking(move || {
            // Owned by the thread, not by the future: a dropped future does not stop the thread.
            let _permit = permit;
            let known = lock(&idle).pop();
            let db = match known {
                Some(db) => db,
                None => {
                    file.check_in_place()?;
                    connection::reader(file.path())?
                }
            };
            let found = query(&db);
            // A connection that failed is closed, not reused.
            if found.is_ok() {
                lock(&idle).push(db);
            }
            found
        });
        reading.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// Locks the idle connections. Poisoning is ignored: a push or a pop cannot be half done.
fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use testkit::watchdog::until;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn dropped_reads_hold_their_permit_until_they_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.db");
        drop(connection::create(&path).unwrap());
        let readers = Readers::new(Arc::new(DatabaseFile::find(path).unwrap()));
        let (began, begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        for _ in 0..50 {
            let (began, released) = (began.clone(), Arc::clone(&released));
            let held = readers.read(move |_| {
                began.send(()).unwrap();
                let _ = released.lock().unwrap().recv();
                Ok(())
            });
            assert!(timeout(Duration::from_millis(1), held).await.is_err());
        }
        // The disk hangs: exactly as many as there are permits have started.
        for _ in 0..READERS {
            begun.recv().unwrap();
        }
        assert!(begun.try_recv().is_err(), "more than {READERS} reads at once");
        assert_eq!(readers.permits.available_permits(), 0);
        drop(release);
        until(async || readers.permits.available_permits() == READERS).await.unwrap();
        assert!(lock(&readers.idle).len() <= READERS);
        readers.read(|_| Ok(())).await.unwrap();
    }
}
