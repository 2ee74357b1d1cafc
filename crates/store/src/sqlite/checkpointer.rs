//! Checkpoints of the write-ahead log on a thread of their own.
//!
//! SQLite's automatic checkpoint runs within a commit, where every caller of the group would wait for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

use super::connection::{self, DatabaseFile};

/// Interval of checkpoints: hot pages are written once for many commits.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);
/// Size of the log, in pages of 4 KiB (64 MB), beyond which the writer checkpoints itself, so that the log
/// restarts. The thread alone never reaches the end of the log while the writer commits.
const MAX_WAL_PAGES: u64 = 16_000;

/// Handle of the checkpoint thread. Dropping it joins the thread.
#[derive(Debug)]
pub(super) struct Checkpointer {
    committed: Option<SyncSender<()>>,
    /// Size of the log at the last checkpoint, in pages.
    wal_pages: Arc<AtomicU64>,
    /// Held during a checkpoint: a second one would fail with `SQLITE_BUSY` instead of waiting.
    busy: Arc<Mutex<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        // Closes the channel, which ends the thread's loop.
        self.committed = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Checkpointer {
    pub(super) fn start(file: Arc<DatabaseFile>) -> Self {
        // Capacity 1: one pending wake-up is enough.
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

    /// Wakes the thread. The writer must call it after each commit, with its own connection.
    pub(super) fn after_commit(&self, db: &Connection) {
        if MAX_WAL_PAGES < self.wal_pages.load(Ordering::Relaxed) {
            self.wal_pages.store(0, Ordering::Relaxed);
            checkpoint(db);
        }
        if let Some(committed) = &self.committed {
            // A full channel has a pending wake-up already.
            let _ = committed.try_send(());
        }
    }

    /// Checkpoints and truncates the log. Waits for readers of older snapshots; after a timeout the log
    /// stays until the next removal.
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

/// Runs a passive checkpoint, which never waits for readers. Returns the size of the log in pages.
fn checkpoint(db: &Connection) -> Option<u64> {
    let moved = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>("log"));
    moved.inspect_err(|error| tracing::warn!(%error, "WAL checkpoint failed")).ok()?.try_into().ok()
}
