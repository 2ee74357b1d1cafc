//! Connections that read, beside the one that writes.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::connection::{self, DatabaseFile};
use crate::store::StoreError;

/// Reads at once. More would wait for the processor or the disk all the same.
const READERS: usize = 4;

#[derive(Debug)]
pub(super) struct Readers {
    file: Arc<DatabaseFile>,
    /// Reads that may begin; the rest waits in order. Each is held until its connection is back, so
    /// that there are never more connections than permits.
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(file: Arc<DatabaseFile>) -> Self {
        Self { file, permits: Arc::new(Semaphore::new(READERS)), idle: Arc::default() }
    }

    /// Runs `query` on a thread where it may take its time. If the caller goes away, what has begun
    /// comes to its end all the same, and counts until then.
    pub(super) async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let (idle, file) = (Arc::clone(&self.idle), Arc::clone(&self.file));
        let reading = spawn_blocking(move || {
            // Of the thread, not of the future: a dropped future does not stop the thread.
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use testkit::watchdog::until;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn abandoned_reads_count_until_they_end() {
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
        // The disk stands still: no more than these have begun, and nothing else begins.
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
