//! The one thread that writes.

use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::checkpointer::Checkpointer;
use super::connection;
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
    /// Tells whoever asked, once the transaction is over.
    fn tell(self: Box<Self>, committed: Result<(), &StoreError>);
}

/// The transaction cannot go on.
struct GroupFailed;

struct Asked<F, T> {
    change: Option<F>,
    made: Option<Result<T, StoreError>>,
    removes: bool,
    tell: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Change for Asked<F, T>
where
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send,
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

    fn tell(self: Box<Self>, committed: Result<(), &StoreError>) {
        let outcome = match (committed, self.made) {
            (Ok(()), Some(made)) | (Err(_), Some(made @ Err(_))) => made,
            (Ok(()), None) => Err(StoreError::unavailable("the change was not made")),
            (Err(error), _) => Err(StoreError::unavailable(error.to_string())),
        };
        // Whoever went away in the meantime finds out from the database.
        let _ = self.tell.send(outcome);
    }
}

impl Writer {
    /// Starts the thread on `db`, a connection to `file`.
    pub(super) fn start(file: PathBuf, db: Connection) -> Self {
        let (changes, asked) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || write_all(&file, db, asked))
            .expect("a process that has just started can start a thread");
        Self { changes: Some(changes), thread: Some(thread) }
    }

    /// Makes a change and returns once it is committed. A change that fails with
    /// [`StoreError::NoSession`] has changed nothing; any other error ends the transaction it shares.
    pub(super) async fn change<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(change, false).await
    }

    /// Like [`Writer::change`]; what it removes is not in the write-ahead log either soon after.
    pub(super) async fn removal<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.ask(change, true).await
    }

    async fn ask<T, F>(&self, change: F, removes: bool) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let asked = Asked { change: Some(change), made: None, removes, tell };
        let gone = || StoreError::unavailable("the thread that writes has ended");
        let changes = self.changes.as_ref().expect("it is taken only when the writer is dropped");
        changes.send(Box::new(asked)).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

fn write_all(file: &Path, db: Connection, mut asked: mpsc::Receiver<Box<dyn Change>>) {
    let mut db = Some(db);
    let checkpointer = Checkpointer::start(file.to_owned());
    let mut group = Vec::with_capacity(GROUP);
    while 0 < asked.blocking_recv_many(&mut group, GROUP) {
        let committed = commit(file, &mut db, &mut group);
        if let Err(error) = &committed {
            tracing::error!(%error, changes = group.len(), "a group of changes was not committed");
            // The next group begins with a connection of its own: whatever is wrong with this one.
            db = None;
        }
        let removes = committed.is_ok() && group.iter().any(|change| change.removes());
        group.drain(..).for_each(|change| change.tell(committed.as_ref().copied()));
        match &db {
            Some(db) if removes => checkpointer.empty_log(db),
            Some(db) => checkpointer.after_commit(db),
            None => {}
        }
    }
}

/// Makes the changes of `group` and commits them together, or none of them.
fn commit(file: &Path, db: &mut Option<Connection>, group: &mut [Box<dyn Change>]) -> Result<(), StoreError> {
    let db = match db {
        Some(db) => db,
        None => db.insert(connection::writer(file)?),
    };
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for change in group {
        if change.make(&transaction).is_err() {
            // Dropped, the transaction is rolled back.
            return Err(StoreError::unavailable("another change of the same transaction failed"));
        }
    }
    Ok(transaction.commit()?)
}
