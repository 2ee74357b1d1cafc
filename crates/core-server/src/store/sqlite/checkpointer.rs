//! Moves committed pages from the write-ahead log to the database, beside the thread that writes.
//!
//! Within a commit, as SQLite does it by itself, everyone in the group would wait for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

use super::connection::{self, DatabaseFile};

/// Between checkpoints: pages that change all the time are moved once for many commits.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);
/// Pages of the log from which on the writer itself moves what is left, so that the log begins
/// anew: 64 MB. While it commits, the thread alone never gets to the end.
const MAX_WAL_PAGES: u64 = 16_000;

/// The way to the thread. Dropping it waits for the thread.
#[derive(Debug)]
pub(super) struct Checkpointer {
    committed: Option<SyncSender<()>>,
    /// Pages in the log, as of the last checkpoint.
    wal_pages: Arc<AtomicU64>,
    /// Held while the thread is at it: SQLite would not let another checkpoint wait for that.
    busy: Arc<Mutex<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.committed = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Checkpointer {
    pub(super) fn start(file: Arc<DatabaseFile>) -> Self {
        // Room for one: that there is something to do need not be said twice.
        let (committed, commits) = mpsc::sync_channel(1);
        let wal_pages = Arc::new(AtomicU64::new(0));
        let busy = Arc::default();
        let shared = (Arc::clone(&wal_pages), Arc::clone(&busy));
        let thread = thread::Builder::new()
            .name("sqlite-checkpointer".to_owned())
            .spawn(move || checkpoint_until_closed(&file, &commits, &shared.0, &shared.1))
            .expect("a process that has just started can start a thread");
        Self { committed: Some(committed), wal_pages, busy, thread: Some(thread) }
    }

    /// To be called by the writer after each commit, on its connection.
    pub(super) fn after_commit(&self, db: &Connection) {
        if MAX_WAL_PAGES < self.wal_pages.load(Ordering::Relaxed) {
            self.wal_pages.store(0, Ordering::Relaxed);
            checkpoint(db);
        }
        if let Some(committed) = &self.committed {
            let _ = committed.try_send(());
        }
    }

    /// Moves everything from the write-ahead log to the database and cuts the log off. Waits for
    /// readers of older states; where one takes too long, the next removal does it.
    pub(super) fn truncate_wal(&self, db: &Connection) {
        let _busy = self.busy.lock();
        let truncated = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>("busy"));
        match truncated {
            Ok(0) => {}
            Ok(_) => tracing::warn!("WAL truncation blocked by readers"),
            Err(error) => tracing::warn!(%error, "WAL truncation failed"),
        }
    }
}

fn checkpoint_until_closed(file: &DatabaseFile, commits: &Receiver<()>, wal_pages: &AtomicU64, busy: &Mutex<()>) {
    let mut db = None;
    while commits.recv().is_ok() {
        db = db.or_else(|| {
            file.check_in_place().ok()?;
            connection::writer(file.path()).ok()
        });
        let pages = {
            let _busy = busy.lock();
            db.as_ref().and_then(checkpoint)
        };
        wal_pages.store(pages.unwrap_or(0), Ordering::Relaxed);
        if pages.is_none() {
            db = None;
        }
        thread::sleep(CHECKPOINT_INTERVAL);
    }
}

/// Moves what no reader needs in the log any more; waits for nobody. Says how many pages the log has.
fn checkpoint(db: &Connection) -> Option<u64> {
    let moved = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>("log"));
    moved.inspect_err(|error| tracing::warn!(%error, "WAL checkpoint failed")).ok()?.try_into().ok()
}
