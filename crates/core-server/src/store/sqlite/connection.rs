//! Opening the file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use refinery::embed_migrations;
use rusqlite::{Connection, OpenFlags};

use crate::store::{OpenError, StoreError, migration};

embed_migrations!("migrations/sqlite");

/// How long a lock of another process is waited for, such as that of a core that is about to end.
const BUSY_LIMIT: Duration = Duration::from_secs(5);
/// Prepared statements a connection keeps: all there are.
const STATEMENTS: usize = 32;
/// Pages the writer keeps, in KiB, which SQLite takes as a negative number: the indexes of the sessions in use.
const WRITER_CACHE_KIB: i64 = -16_384;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::unavailable(error),
        }
    }
}

/// How the database in `file` is called in messages.
pub(super) fn file_name(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

/// Opens the database for writing, makes it where there is none, and migrates it.
pub(super) fn create(file: &Path) -> Result<Connection, OpenError> {
    let database = || file_name(file);
    let folder = make_file(file).map_err(|source| unreachable(file, source))?;
    // Two cores may start at once. Not a lock on the file itself: closing it would end SQLite's own.
    folder.lock().map_err(|source| unreachable(file, source))?;
    let mut db = writer(file).map_err(|source| unreachable(file, source))?;
    let runner = migration::strict(migrations::runner());
    let report = migration::outcome(&runner, database(), runner.run(&mut db));
    drop(folder);
    report.map(|()| db)
}

fn unreachable(file: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
    OpenError::Unreachable { database: file_name(file), source: source.into() }
}

/// Makes the file, readable for nobody else, if it is not there. Returns its folder.
fn make_file(file: &Path) -> io::Result<File> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(_) | Err(_) => {}
    }
    File::open(folder)
}

/// A connection that writes.
pub(super) fn writer(file: &Path) -> rusqlite::Result<Connection> {
    let db = open(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    // What is deleted is overwritten.
    db.pragma_update(None, "secure_delete", "ON")?;
    // The checkpointer does it, outside of commits.
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
    Ok(db)
}

/// A connection that reads.
pub(super) fn reader(file: &Path) -> rusqlite::Result<Connection> {
    open(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open(file: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_LIMIT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}
