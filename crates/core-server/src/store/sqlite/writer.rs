//! The one thread that writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::checkpointer::Checkpointer;
use super::connection::{self, DatabaseFile, FileIdentity};
use super::recent_cache::RecentHistoryCache;
use crate::store::StoreError;

/// Changes that may wait for the next commit; whoever comes then waits for room.
const QUEUE_CAPACITY: usize = 1_024;
/// Changes of one commit.
const MAX_GROUP: usize = 512;

/// The way to the thread that writes. Dropping it waits for the thread, which does what was
/// asked of it and closes the database.
#[derive(Debug)]
pub(super) struct Writer {
    changes: Option<mpsc::Sender<Box<dyn Change>>>,
    thread: Option<JoinHandle<()>>,
    cache: Arc<RecentHistoryCache>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.changes = None;
        // A thread that panicked has said so itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A change that waits for its commit.
trait Change: Send {
    /// Makes it, within a transaction. After an error it may have been made in part.
    fn make(&mut self, db: &Connection) -> Result<(), ChangeError>;
    /// Whether it removes what must not be found in the file again.
    fn removes(&self) -> bool;
    /// Notes what it did and tells whoever asked, once the transaction is over.
    fn complete(self: Box<Self>, committed: Result<(), &StoreError>, cache: &RecentHistoryCache);
}

/// It has to be undone. Its caller hears why.
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
        // A change that panics fails alone, as one that meets a damaged row does.
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
        // Whoever went away in the meantime finds out from the database.
        let _ = self.reply.send(outcome);
    }
}

impl Writer {
    /// Starts the thread on `db`, a connection to `file`. It notes in `remembered` what it commits.
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

    /// Makes a change and returns once it is committed. A change that fails with
    /// [`StoreError::NoSession`] has changed nothing. After any other error it is made once more, apart
    /// from those it shares a transaction with, so that it fails alone if it is the cause. `note` says what the change means for what is remembered: it is called on the thread that
    /// writes, after the commit and before this returns, for one change after another as they
    /// were made; also if the caller has gone away.
    pub(super) async fn change<T, F, N>(&self, change: F, update_cache: N) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
        N: FnOnce(&T, &RecentHistoryCache) + Send + 'static,
    {
        self.enqueue(change, update_cache, false).await
    }

    /// Like [`Writer::change`]; what it removes is not in the write-ahead log either soon after.
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
            // Perhaps between a commit and its note.
            self.cache.clear();
            StoreError::unavailable("the writer thread has ended")
        };
        let changes = self.changes.as_ref().expect("it is taken only when the writer is dropped");
        changes.send(Box::new(queue)).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

/// What the thread that writes has in its hands.
struct WriterState {
    file: Arc<DatabaseFile>,
    /// `None` after a failure: the next group begins with one of its own, whatever is wrong with this one.
    connection: Option<Connection>,
    /// SQLite's number of what other connections have committed, as of the last group.
    version: Option<i64>,
    /// The write-ahead log that the connection writes to, once it has.
    wal: Option<FileIdentity>,
    cache: Arc<RecentHistoryCache>,
}

/// How the changes of a group share their transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolation {
    /// One that fails undoes all.
    SharedTransaction,
    /// Each is made in a savepoint of its own, and undone alone. Dearer, so only where one has failed.
    Savepoints,
}

/// Why a group was not committed.
enum GroupError {
    /// One of its changes failed, and may have undone the others.
    ByChange,
    ByDatabase(StoreError),
}

impl From<rusqlite::Error> for GroupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::ByDatabase(error.into())
    }
}

/// Writes as long as there is a store, also after a panic: without this thread every message would
/// be refused until the core is started again. The callers of the group in hand hear that it is gone.
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
    /// Makes the changes of `group` and commits them together. If one of them fails, they are made
    /// once more, each apart: one session's damaged row does not refuse the messages of others.
    fn commit(&mut self, group: &mut [Box<dyn Change>]) -> Result<(), StoreError> {
        // The connection stays: put back, the file is the same again, and closed last, it moves the log.
        self.check_in_place().inspect_err(|_| self.cache.clear())?;
        let mut made = self.make(group, Isolation::SharedTransaction);
        if matches!(made, Err(GroupError::ByChange)) && 1 < group.len() {
            self.reset_connection();
            made = self.make(group, Isolation::Savepoints);
        }
        match made {
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
            // Another process has changed something, such as a core that is about to end.
            self.cache.clear();
        }
        for change in group {
            if isolation == Isolation::SharedTransaction {
                // Dropped, the transaction is rolled back.
                change.make(&transaction).map_err(|ChangeError| GroupError::ByChange)?;
                continue;
            }
            let savepoint = transaction.savepoint()?;
            match change.make(&savepoint) {
                Ok(()) => savepoint.commit()?,
                // Undone.
                Err(ChangeError) => drop(savepoint),
            }
            if transaction.is_autocommit() {
                // SQLite has rolled back more than the change, as it may on a full disk.
                return Err(GroupError::ByChange);
            }
        }
        transaction.commit()?;
        if self.wal.is_none() {
            self.wal = self.file.wal_identity();
        }
        Ok(())
    }

    /// Fails if what is committed would not be found by the next start.
    fn check_in_place(&self) -> Result<(), StoreError> {
        self.file.check_in_place()?;
        if self.wal.is_some() && self.wal != self.file.wal_identity() {
            let what =
                "the write-ahead log of the database was moved or deleted while the core runs: start the core again";
            return Err(StoreError::unavailable(what));
        }
        Ok(())
    }

    /// Closes the connection, after which it is decided what became of the last group, though not
    /// known here.
    fn reset_connection(&mut self) {
        self.connection = None;
        self.version = None;
        self.wal = None;
        self.cache.clear();
    }
}
