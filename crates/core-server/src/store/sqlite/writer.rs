//! The one thread that writes.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::checkpointer::Checkpointer;
use super::connection;
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
    /// Makes it, within a transaction. An error that is the database's ends the transaction.
    fn make(&mut self, db: &Connection) -> Result<(), GroupFailed>;
    /// Whether it removes what must not be found in the file again.
    fn removes(&self) -> bool;
    /// Notes what it did and tells whoever asked, once the transaction is over.
    fn tell(self: Box<Self>, committed: Result<(), &StoreError>, remembered: &Remembered);
}

/// The transaction cannot go on.
struct GroupFailed;

struct Asked<F, N, T> {
    change: Option<F>,
    made: Option<Result<T, StoreError>>,
    note: N,
    removes: bool,
    tell: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, N, T> Change for Asked<F, N, T>
where
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send,
    N: FnOnce(&T, &Remembered) + Send,
    T: Send,
{
    fn make(&mut self, db: &Connection) -> Result<(), GroupFailed> {
        let Some(change) = self.change.take() else { return Ok(()) };
        let made = self.made.insert(change(db));
        match made {
            Ok(_) | Err(StoreError::NoSession { .. }) => Ok(()),
            Err(_) => Err(GroupFailed),
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
    pub(super) fn start(file: PathBuf, db: Connection, remembered: Arc<Remembered>) -> Self {
        let (changes, asked) = mpsc::channel(QUEUE);
        let database = Database { file, connection: Some(db), version: None, remembered: Arc::clone(&remembered) };
        let thread = thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || write_all(database, asked))
            .expect("a process that has just started can start a thread");
        Self { changes: Some(changes), thread: Some(thread), remembered }
    }

    /// Makes a change and returns once it is committed. A change that fails with
    /// [`StoreError::NoSession`] has changed nothing; any other error ends the transaction it shares.
    /// `note` says what the change means for what is remembered: it is called on the thread that
    /// writes, after the commit and before this returns, for one change after another as they
    /// were made; also if the caller has gone away.
    pub(super) async fn change<T, F, N>(&self, change: F, note: N) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        N: FnOnce(&T, &Remembered) + Send + 'static,
    {
        self.ask(change, note, false).await
    }

    /// Like [`Writer::change`]; what it removes is not in the write-ahead log either soon after.
    pub(super) async fn removal<T, F, N>(&self, change: F, note: N) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        N: FnOnce(&T, &Remembered) + Send + 'static,
    {
        self.ask(change, note, true).await
    }

    async fn ask<T, F, N>(&self, change: F, note: N, removes: bool) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        N: FnOnce(&T, &Remembered) + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let asked = Asked { change: Some(change), made: None, note, removes, tell };
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
    file: PathBuf,
    /// `None` after a failure: the next group begins with one of its own, whatever is wrong with this one.
    connection: Option<Connection>,
    /// SQLite's number of what other connections have committed, as of the last group.
    version: Option<i64>,
    remembered: Arc<Remembered>,
}

fn write_all(mut database: Database, mut asked: mpsc::Receiver<Box<dyn Change>>) {
    let checkpointer = Checkpointer::start(database.file.clone());
    let mut group = Vec::with_capacity(GROUP);
    while 0 < asked.blocking_recv_many(&mut group, GROUP) {
        let committed = database.commit(&mut group);
        if let Err(error) = &committed {
            tracing::error!(%error, changes = group.len(), "a group of changes was not committed");
            database.give_up();
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
    /// Makes the changes of `group` and commits them together, or none of them.
    fn commit(&mut self, group: &mut [Box<dyn Change>]) -> Result<(), StoreError> {
        let db = match &mut self.connection {
            Some(db) => db,
            None => self.connection.insert(connection::writer(&self.file)?),
        };
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version = transaction.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if self.version.replace(version) != Some(version) {
            // Another process has changed something, such as a core that is about to end.
            self.remembered.forget_all();
        }
        for change in group {
            if change.make(&transaction).is_err() {
                // Dropped, the transaction is rolled back.
                return Err(StoreError::unavailable("another change of the same transaction failed"));
            }
        }
        Ok(transaction.commit()?)
    }

    /// Closes the connection, after which it is decided what became of the last group, though not
    /// known here.
    fn give_up(&mut self) {
        self.connection = None;
        self.version = None;
        self.remembered.forget_all();
    }
}
