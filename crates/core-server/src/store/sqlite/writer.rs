//! The one thread that writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::checkpointer::Checkpointer;
use super::connection::{self, DatabaseFile, FileIdentity};
use super::remembered::Remembered;
use crate::store::StoreError;

/// Changes that may wait for the next commit; whoever comes then waits for room.
const QUEUE: usize = 1_024;
/// Changes of one commit.
const GROUP: usize = 512;

/// The way to the thread that writes. Dropping it waits for the thread, which does what was
/// asked of it and closes the database.
#[derive(Debug)]
pub(super) struct Writer {
    changes: Option<mpsc::Sender<Box<dyn Change>>>,
    thread: Option<JoinHandle<()>>,
    remembered: Arc<Remembered>,
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
    fn make(&mut self, db: &Connection) -> Result<(), ChangeFailed>;
    /// Whether it removes what must not be found in the file again.
    fn removes(&self) -> bool;
    /// Notes what it did and tells whoever asked, once the transaction is over.
    fn tell(self: Box<Self>, committed: Result<(), &StoreError>, remembered: &Remembered);
}

/// It has to be undone. Its caller hears why.
struct ChangeFailed;

struct Asked<F, N, T> {
    change: F,
    made: Option<Result<T, StoreError>>,
    note: N,
    removes: bool,
    tell: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, N, T> Change for Asked<F, N, T>
where
    F: FnMut(&Connection) -> Result<T, StoreError> + Send,
    N: FnOnce(&T, &Remembered) + Send,
    T: Send,
{
    fn make(&mut self, db: &Connection) -> Result<(), ChangeFailed> {
        // A change that panics fails alone, as one that meets a damaged row does.
        let made = catch_unwind(AssertUnwindSafe(|| (self.change)(db)));
        let made = made.unwrap_or_else(|_| Err(StoreError::unavailable("the change panicked")));
        match self.made.insert(made) {
            Ok(_) | Err(StoreError::NoSession { .. }) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "a change failed");
                Err(ChangeFailed)
            }
        }
    }

    fn removes(&self) -> bool {
        self.removes
    }

    fn tell(self: Box<Self>, committed: Result<(), &StoreError>, remembered: &Remembered) {
        let outcome = match (committed, self.made) {
            (Ok(()), Some(made)) | (Err(_), Some(made @ Err(_))) => made,
            (Ok(()), None) => Err(StoreError::unavailable("the change was not made")),
            (Err(error), _) => Err(StoreError::unavailable(error.to_string())),
        };
        if let Ok(made) = &outcome {
            (self.note)(made, remembered);
        }
        // Whoever went away in the meantime finds out from the database.
        let _ = self.tell.send(outcome);
    }
}

impl Writer {
    /// Starts the thread on `db`, a connection to `file`. It notes in `remembered` what it commits.
    pub(super) fn start(file: Arc<DatabaseFile>, db: Connection, remembered: Arc<Remembered>) -> Self {
        let (changes, asked) = mpsc::channel(QUEUE);
        let remembers = Arc::clone(&remembered);
        let database = Database { file, connection: Some(db), version: None, log: None, remembered: remembers };
        let thread = thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || write_until_closed(database, asked))
            .expect("a process that has just started can start a thread");
        Self { changes: Some(changes), thread: Some(thread), remembered }
    }

    /// Makes a change and returns once it is committed. A change that fails with
    /// [`StoreError::NoSession`] has changed nothing. After any other error it is made once more, apart
    /// from those it shares a transaction with, so that it fails alone if it is the cause. `note` says what the change means for what is remembered: it is called on the thread that
    /// writes, after the commit and before this returns, for one change after another as they
    /// were made; also if the caller has gone away.
    pub(super) async fn change<T, F, N>(&self, change: F, note: N) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
        N: FnOnce(&T, &Remembered) + Send + 'static,
    {
        self.ask(change, note, false).await
    }

    /// Like [`Writer::change`]; what it removes is not in the write-ahead log either soon after.
    pub(super) async fn removal<T, F, N>(&self, change: F, note: N) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
        N: FnOnce(&T, &Remembered) + Send + 'static,
    {
        self.ask(change, note, true).await
    }

    async fn ask<T, F, N>(&self, change: F, note: N, removes: bool) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
        N: FnOnce(&T, &Remembered) + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let asked = Asked { change, made: None, note, removes, tell };
        let gone = || {
            // Perhaps between a commit and its note.
            self.remembered.forget_all();
            StoreError::unavailable("the thread that writes has ended")
        };
        let changes = self.changes.as_ref().expect("it is taken only when the writer is dropped");
        changes.send(Box::new(asked)).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

/// What the thread that writes has in its hands.
struct Database {
    file: Arc<DatabaseFile>,
    /// `None` after a failure: the next group begins with one of its own, whatever is wrong with this one.
    connection: Option<Connection>,
    /// SQLite's number of what other connections have committed, as of the last group.
    version: Option<i64>,
    /// The write-ahead log that the connection writes to, once it has.
    log: Option<FileIdentity>,
    remembered: Arc<Remembered>,
}

/// How the changes of a group share their transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolation {
    /// One that fails undoes all.
    Together,
    /// Each is made in a savepoint of its own, and undone alone. Dearer, so only where one has failed.
    Apart,
}

/// Why a group was not committed.
enum GroupFailed {
    /// One of its changes failed, and may have undone the others.
    ByChange,
    ByDatabase(StoreError),
}

impl From<rusqlite::Error> for GroupFailed {
    fn from(error: rusqlite::Error) -> Self {
        Self::ByDatabase(error.into())
    }
}

/// Writes as long as there is a store, also after a panic: without this thread every message would
/// be refused until the core is started again. The callers of the group in hand hear that it is gone.
fn write_until_closed(mut database: Database, mut asked: mpsc::Receiver<Box<dyn Change>>) {
    let checkpointer = Checkpointer::start(Arc::clone(&database.file));
    while catch_unwind(AssertUnwindSafe(|| write_all(&mut database, &mut asked, &checkpointer))).is_err() {
        tracing::error!("the thread that writes panicked, and begins with a new connection");
        database.give_up();
    }
}

fn write_all(database: &mut Database, asked: &mut mpsc::Receiver<Box<dyn Change>>, checkpointer: &Checkpointer) {
    let mut group = Vec::with_capacity(GROUP);
    while 0 < asked.blocking_recv_many(&mut group, GROUP) {
        let committed = database.commit(&mut group);
        if let Err(error) = &committed {
            tracing::error!(%error, changes = group.len(), "a group of changes was not committed");
        }
        let removes = committed.is_ok() && group.iter().any(|change| change.removes());
        group.drain(..).for_each(|change| change.tell(committed.as_ref().copied(), &database.remembered));
        match &database.connection {
            Some(db) if removes => checkpointer.empty_log(db),
            Some(db) => checkpointer.after_commit(db),
            None => {}
        }
    }
}

impl Database {
    /// Makes the changes of `group` and commits them together. If one of them fails, they are made
    /// once more, each apart: one session's damaged row does not refuse the messages of others.
    fn commit(&mut self, group: &mut [Box<dyn Change>]) -> Result<(), StoreError> {
        // The connection stays: put back, the file is the same again, and closed last, it moves the log.
        self.check_in_place().inspect_err(|_| self.remembered.forget_all())?;
        let mut made = self.make(group, Isolation::Together);
        if matches!(made, Err(GroupFailed::ByChange)) && 1 < group.len() {
            self.give_up();
            made = self.make(group, Isolation::Apart);
        }
        match made {
            Ok(()) => self.check_in_place().inspect_err(|_| self.remembered.forget_all()),
            Err(failed) => {
                self.give_up();
                Err(match failed {
                    GroupFailed::ByChange => StoreError::unavailable("a change of the transaction failed"),
                    GroupFailed::ByDatabase(error) => error,
                })
            }
        }
    }

    fn make(&mut self, group: &mut [Box<dyn Change>], isolation: Isolation) -> Result<(), GroupFailed> {
        let db = match &mut self.connection {
            Some(db) => db,
            None => self.connection.insert(connection::writer(self.file.path())?),
        };
        let mut transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version = transaction.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if self.version.replace(version) != Some(version) {
            // Another process has changed something, such as a core that is about to end.
            self.remembered.forget_all();
        }
        for change in group {
            if isolation == Isolation::Together {
                // Dropped, the transaction is rolled back.
                change.make(&transaction).map_err(|ChangeFailed| GroupFailed::ByChange)?;
                continue;
            }
            let savepoint = transaction.savepoint()?;
            match change.make(&savepoint) {
                Ok(()) => savepoint.commit()?,
                // Undone.
                Err(ChangeFailed) => drop(savepoint),
            }
            if transaction.is_autocommit() {
                // SQLite has rolled back more than the change, as it may on a full disk.
                return Err(GroupFailed::ByChange);
            }
        }
        transaction.commit()?;
        if self.log.is_none() {
            self.log = self.file.log_identity();
        }
        Ok(())
    }

    /// Fails if what is committed would not be found by the next start.
    fn check_in_place(&self) -> Result<(), StoreError> {
        self.file.check_in_place()?;
        if self.log.is_some() && self.log != self.file.log_identity() {
            let what =
                "the write-ahead log of the database was moved or deleted while the core runs: start the core again";
            return Err(StoreError::unavailable(what));
        }
        Ok(())
    }

    /// Closes the connection, after which it is decided what became of the last group, though not
    /// known here.
    fn give_up(&mut self) {
        self.connection = None;
        self.version = None;
        self.log = None;
        self.remembered.forget_all();
    }
}
