//! Writer thread, with group commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::checkpointer::Checkpointer;
use super::connection::{self, DatabaseFile, FileIdentity};
use super::recent_cache::RecentHistoryCache;
use crate::error::StoreError;

/// Maximum queued changes; callers beyond it wait.
const QUEUE_CAPACITY: usize = 1_024;
/// Maximum changes of one commit.
const MAX_GROUP: usize = 512;

/// Handle of the writer thread. Dropping it joins the thread, which first makes all queued changes and
/// closes the database.
#[derive(Debug)]
pub(super) struct Writer {
    changes: Option<mpsc::Sender<Box<dyn Change>>>,
    thread: Option<JoinHandle<()>>,
    cache: Arc<RecentHistoryCache>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.changes = None;
        // A panic was logged by the thread.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Queued change.
trait Change: Send {
    /// Makes the change within a transaction. After an error it may be made in part.
    fn make(&mut self, db: &Connection) -> Result<(), ChangeError>;
    /// Returns whether the change removes texts, which must then not stay in the files.
    fn removes(&self) -> bool;
    /// Updates the cache, then resolves the caller's future. Must be called after the transaction, and in
    /// this order: a caller must find its own write.
    fn complete(self: Box<Self>, committed: Result<(), &StoreError>, cache: &RecentHistoryCache);
}

/// Marker of a change that must be undone; the cause is in the change itself.
struct ChangeError;

struct QueuedWrite<F, N, T> {
    change: F,
    made: Option<Result<T, StoreError>>,
    update_cache: N,
    removes: bool,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, N, T> Change for QueuedWrite<F, N, T>
where
    F: FnMut(&Connection) -> Result<T, StoreError> + Send,
    N: FnOnce(&T, &RecentHistoryCache) + Send,
    T: Send,
{
    fn make(&mut self, db: &Connection) -> Result<(), ChangeError> {
        // A panicking change must fail alone, like one that meets a damaged row.
        let made = catch_unwind(AssertUnwindSafe(|| (self.change)(db)));
        let made = made.unwrap_or_else(|_| Err(StoreError::unavailable("the change panicked")));
        match self.made.insert(made) {
            Ok(_) | Err(StoreError::NoSession { .. }) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "store change failed");
                Err(ChangeError)
            }
        }
    }

    fn removes(&self) -> bool {
        self.removes
    }

    fn complete(self: Box<Self>, committed: Result<(), &StoreError>, cache: &RecentHistoryCache) {
        let outcome = match (committed, self.made) {
            (Ok(()), Some(made)) | (Err(_), Some(made @ Err(_))) => made,
            (Ok(()), None) => Err(StoreError::unavailable("the change was not made")),
            (Err(error), _) => Err(StoreError::unavailable(error.to_string())),
        };
        if let Ok(made) = &outcome {
            (self.update_cache)(made, cache);
        }
        // The caller may be gone; a retry finds the change in the database.
        let _ = self.reply.send(outcome);
    }
}

impl Writer {
    /// Starts the thread with `db`, a connection to `file`. It applies commits to `cache`.
    pub(super) fn start(file: Arc<DatabaseFile>, db: Connection, cache: Arc<RecentHistoryCache>) -> Self {
        let (changes, queue) = mpsc::channel(QUEUE_CAPACITY);
        let cache_of_writer = Arc::clone(&cache);
        let database = WriterState { file, connection: Some(db), version: None, wal: None, cache: cache_of_writer };
        let thread = thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || write_until_closed(database, queue))
            .expect("a process that has just started can start a thread");
        Self { changes: Some(changes), thread: Some(thread), cache }
    }

    /// Makes a change and returns once it is committed.
    ///
    /// A change that fails with [`StoreError::NoSession`] must have changed nothing. After any other error
    /// it runs once more in a savepoint of its own, so that it fails alone if it is the cause.
    /// `update_cache` runs on the writer thread after the commit and before this returns, in the order of
    /// the changes.
    ///
    /// # Cancel safety
    ///
    /// A queued change and its cache update run even if the caller is dropped.
    pub(super) async fn change<T, F, N>(&self, change: F, update_cache: N) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
        N: FnOnce(&T, &RecentHistoryCache) + Send + 'static,
    {
        self.enqueue(change, update_cache, false).await
    }

    /// Like [`Writer::change`], and truncates the write-ahead log after the commit, so that removed texts
    /// do not stay there.
    pub(super) async fn removal<T, F, N>(&self, change: F, update_cache: N) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
        N: FnOnce(&T, &RecentHistoryCache) + Send + 'static,
    {
        self.enqueue(change, update_cache, true).await
    }

    async fn enqueue<T, F, N>(&self, change: F, update_cache: N, removes: bool) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
        N: FnOnce(&T, &RecentHistoryCache) + Send + 'static,
    {
        let (reply, result) = oneshot::channel();
        let queue = QueuedWrite { change, made: None, update_cache, removes, reply };
        let gone = || {
            // The thread may have ended between a commit and its cache update.
            self.cache.clear();
            StoreError::unavailable("the writer thread has ended")
        };
        let changes = self.changes.as_ref().expect("it is taken only when the writer is dropped");
        changes.send(Box::new(queue)).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

/// State owned by the writer thread.
struct WriterState {
    file: Arc<DatabaseFile>,
    /// `None` after a failure: the next group opens another one.
    connection: Option<Connection>,
    /// `PRAGMA data_version` at the last group: it changes when another process commits.
    version: Option<i64>,
    /// Identity of the write-ahead log, known after the first commit.
    wal: Option<FileIdentity>,
    cache: Arc<RecentHistoryCache>,
}

/// Isolation of the changes of a group from each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolation {
    /// A failed change rolls back the group.
    SharedTransaction,
    /// A failed change rolls back to its own savepoint. Slower, so used only after a failure.
    Savepoints,
}

/// Error of a group commit.
enum GroupError {
    /// A change failed, and may have rolled back the others.
    ByChange,
    ByDatabase(StoreError),
}

impl From<rusqlite::Error> for GroupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::ByDatabase(error.into())
    }
}

/// Runs the writer until its queue is closed, and restarts it after a panic: without it every message would
/// be rejected until the core restarts. Callers of the current group get an error.
fn write_until_closed(mut database: WriterState, mut queue: mpsc::Receiver<Box<dyn Change>>) {
    let checkpointer = Checkpointer::start(Arc::clone(&database.file));
    while catch_unwind(AssertUnwindSafe(|| write_all(&mut database, &mut queue, &checkpointer))).is_err() {
        tracing::error!("writer thread panicked; reopening its connection");
        database.reset_connection();
    }
}

fn write_all(database: &mut WriterState, queue: &mut mpsc::Receiver<Box<dyn Change>>, checkpointer: &Checkpointer) {
    let mut group = Vec::with_capacity(MAX_GROUP);
    while 0 < queue.blocking_recv_many(&mut group, MAX_GROUP) {
        let committed = database.commit(&mut group);
        if let Err(error) = &committed {
            tracing::error!(%error, changes = group.len(), "group commit failed");
        }
        let removes = committed.is_ok() && group.iter().any(|change| change.removes());
        group.drain(..).for_each(|change| change.complete(committed.as_ref().copied(), &database.cache));
        match &database.connection {
            Some(db) if removes => checkpointer.truncate_wal(db),
            Some(db) => checkpointer.after_commit(db),
            None => {}
        }
    }
}

impl WriterState {
    /// Makes the changes of `group` and commits them together. If one fails, all run once more in
    /// savepoints: a damaged row of one session must not reject the messages of others.
    fn commit(&mut self, group: &mut [Box<dyn Change>]) -> Result<(), StoreError> {
        // The connection stays open: the file may be moved back, and closing the last one checkpoints the log.
        self.check_in_place().inspect_err(|_| self.cache.clear())?;
        // Savepoints from the start would cost every group two more statements per change.
        let mut made = self.make(group, Isolation::SharedTransaction);
        if matches!(made, Err(GroupError::ByChange)) && 1 < group.len() {
            self.reset_connection();
            made = self.make(group, Isolation::Savepoints);
        }
        match made {
            // Again after the commit: a file moved meanwhile must not have its changes reported as stored.
            Ok(()) => self.check_in_place().inspect_err(|_| self.cache.clear()),
            Err(failed) => {
                self.reset_connection();
                Err(match failed {
                    GroupError::ByChange => StoreError::unavailable("a change of the transaction failed"),
                    GroupError::ByDatabase(error) => error,
                })
            }
        }
    }

    fn make(&mut self, group: &mut [Box<dyn Change>], isolation: Isolation) -> Result<(), GroupError> {
        let db = match &mut self.connection {
            Some(db) => db,
            None => self.connection.insert(connection::writer(self.file.path())?),
        };
        let mut transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version = transaction.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if self.version.replace(version) != Some(version) {
            // Another process has committed, such as a core that is shutting down.
            self.cache.clear();
        }
        for change in group {
            if isolation == Isolation::SharedTransaction {
                // Dropping the transaction rolls it back.
                change.make(&transaction).map_err(|ChangeError| GroupError::ByChange)?;
                continue;
            }
            let savepoint = transaction.savepoint()?;
            match change.make(&savepoint) {
                Ok(()) => savepoint.commit()?,
                // Dropping a savepoint rolls back to it.
                Err(ChangeError) => drop(savepoint),
            }
            if transaction.is_autocommit() {
                // SQLite has rolled back the whole transaction, as it may on a full disk.
                return Err(GroupError::ByChange);
            }
        }
        transaction.commit()?;
        if self.wal.is_none() {
            self.wal = self.file.wal_identity();
        }
        Ok(())
    }

    /// Fails if commits would be lost at the next start, because the database or its log was replaced.
    fn check_in_place(&self) -> Result<(), StoreError> {
        self.file.check_in_place()?;
        if self.wal.is_some() && self.wal != self.file.wal_identity() {
            let cause =
                "the write-ahead log of the database was moved or deleted while the core runs: start the core again";
            return Err(StoreError::unavailable(cause));
        }
        Ok(())
    }

    /// Closes the connection, which settles whether the last group was committed. The outcome is unknown
    /// here, so the cache is cleared.
    fn reset_connection(&mut self) {
        self.connection = None;
        self.version = None;
        self.wal = None;
        self.cache.clear();
    }
}
