//! Opening the file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use refinery::embed_migrations;
use rusqlite::{Connection, OpenFlags};

use crate::store::{OpenError, StoreError, migration};

embed_migrations!("migrations/sqlite");

/// How long a lock of another process is waited for, such as that of a core that is about to end.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements a connection keeps: all there are.
const STATEMENT_CACHE_CAPACITY: usize = 32;
/// Room on a disk below which it counts as full: some of the longest messages with all that is written for
/// them.
const MIN_FREE_BYTES: u64 = 1 << 20;
/// Pages the writer keeps, in KiB, which SQLite takes as a negative number: the indexes of the sessions in use.
const WRITER_CACHE_KIB: i64 = -16_384;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            _ if is_column_error(&error) => Self::Damaged(error.to_string()),
            _ => Self::unavailable(error),
        }
    }
}

/// Whether a column holds another kind of value than it must: now and later.
fn is_column_error(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..))
}

/// The file of the database, known again by its number on the disk. It may be moved or deleted
/// while it is open: what is then written goes to where it is lost with the process.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    identity: FileIdentity,
}

/// Device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity(u64, u64);

impl FileIdentity {
    fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|found| Self(found.dev(), found.ino()))
    }
}

impl DatabaseFile {
    /// The file at `path` as it is now.
    pub(super) fn find(path: PathBuf) -> io::Result<Self> {
        let identity = FileIdentity::of(&path)?;
        Ok(Self { path, identity })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if another file, or none, has its name now. That one is never opened in its stead: its
    /// sessions are others, and the write-ahead log beside it may belong to this one.
    pub(super) fn check_in_place(&self) -> Result<(), StoreError> {
        let what = match FileIdentity::of(&self.path) {
            Ok(identity) if identity == self.identity => return Ok(()),
            Ok(_) => "another file has its place",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "it is not there",
            Err(error) => return Err(StoreError::unavailable(error)),
        };
        let file = display_name(&self.path);
        Err(StoreError::unavailable(format!(
            "{file} was moved or deleted while the core runs: {what}; put it back, or stop the core first"
        )))
    }

    /// Fails if there is hardly any room on its disk for what is to be stored.
    pub(super) fn check_free_space(&self) -> Result<(), StoreError> {
        let folder = folder(&self.path);
        let disk = rustix::fs::statvfs(folder).map_err(StoreError::unavailable)?;
        // What is kept back is for the superuser alone.
        let blocks = if rustix::process::geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
        if blocks.saturating_mul(disk.f_frsize) < MIN_FREE_BYTES {
            let what = format!("the disk of {} is full", display_name(&self.path));
            return Err(StoreError::unavailable(what));
        }
        Ok(())
    }

    /// Identity of the write-ahead log, which stays the same as long as a connection is open.
    pub(super) fn wal_identity(&self) -> Option<FileIdentity> {
        let mut name = self.path.clone().into_os_string();
        name.push("-wal");
        FileIdentity::of(Path::new(&name)).ok()
    }
}

/// How the database in `file` is called in messages.
pub(in crate::store) fn display_name(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

/// Opens the database for writing, makes it where there is none, and migrates it.
pub(super) fn create(file: &Path) -> Result<Connection, OpenError> {
    let database = || display_name(file);
    let folder = create_file(file).map_err(|source| unreachable(file, source))?;
    // Two cores may start at once. Not a lock on the file itself: closing it would end SQLite's own.
    folder.lock().map_err(|source| unreachable(file, source))?;
    let mut db = writer(file).map_err(|source| unreachable(file, source))?;
    let runner = migration::strict(migrations::runner());
    let report = migration::outcome(&runner, database(), runner.run(&mut db));
    drop(folder);
    report.map(|()| db)
}

pub(in crate::store) fn unreachable(
    file: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> OpenError {
    OpenError::Unreachable { database: display_name(file), source: source.into() }
}

/// The folder of `file`.
pub(super) fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the folder of `file`, with mode 0700, if it is not there.
pub(in crate::store) fn create_folder(file: &Path) -> io::Result<&Path> {
    let folder = folder(file);
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    Ok(folder)
}

/// Makes the file, readable for nobody else, if it is not there. Returns its folder.
fn create_file(file: &Path) -> io::Result<File> {
    let folder = create_folder(file)?;
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
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENT_CACHE_CAPACITY);
    Ok(db)
}
