//! The database file and its connections.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use refinery::embed_migrations;
use rusqlite::{Connection, OpenFlags};

use crate::error::{OpenError, StoreError};
use crate::migration;

embed_migrations!("migrations/sqlite");

/// Timeout for a lock of another process, such as a core that is shutting down.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements cached per connection: all that exist.
const STATEMENT_CACHE_CAPACITY: usize = 32;
/// Free bytes below which the disk counts as full: space for some of the longest messages.
const MIN_FREE_BYTES: u64 = 1 << 20;
/// Page cache of the writer, for the indexes of the sessions in use. SQLite reads a negative number as KiB.
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

/// Returns whether a column has a value of the wrong type, which is permanent damage.
fn is_column_error(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..))
}

/// Database file, identified by its inode. If it is moved or deleted while it is open, commits succeed
/// into a file that is lost with the process: they must be refused.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    identity: FileIdentity,
}

/// Device and inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity(u64, u64);

impl FileIdentity {
    fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|found| Self(found.dev(), found.ino()))
    }
}

impl DatabaseFile {
    /// Identifies the file at `path`.
    pub(super) fn find(path: PathBuf) -> io::Result<Self> {
        let identity = FileIdentity::of(&path)?;
        Ok(Self { path, identity })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails if its path leads to another file or none. Another file must never be opened instead: it has
    /// other sessions, and the write-ahead log beside it may belong to this one.
    pub(super) fn check_in_place(&self) -> Result<(), StoreError> {
        let cause = match FileIdentity::of(&self.path) {
            Ok(identity) if identity == self.identity => return Ok(()),
            Ok(_) => "another file has its place",
            Err(error) if error.kind() == io::ErrorKind::NotFound => "it is not there",
            Err(error) => return Err(StoreError::unavailable(error)),
        };
        let file = display_name(&self.path);
        Err(StoreError::unavailable(format!(
            "{file} was moved or deleted while the core runs: {cause}; put it back, or stop the core first"
        )))
    }

    /// Fails if the free space of the disk is below `MIN_FREE_BYTES`.
    pub(super) fn check_free_space(&self) -> Result<(), StoreError> {
        let folder = folder(&self.path);
        let disk = rustix::fs::statvfs(folder).map_err(StoreError::unavailable)?;
        // Reserved blocks are available to the superuser only.
        let blocks = if rustix::process::geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
        if blocks.saturating_mul(disk.f_frsize) < MIN_FREE_BYTES {
            let cause = format!("the disk of {} is full", display_name(&self.path));
            return Err(StoreError::unavailable(cause));
        }
        Ok(())
    }

    /// Identity of the write-ahead log, constant while a connection is open.
    pub(super) fn wal_identity(&self) -> Option<FileIdentity> {
        let mut name = self.path.clone().into_os_string();
        name.push("-wal");
        FileIdentity::of(Path::new(&name)).ok()
    }
}

/// Address of the database, for messages.
pub(crate) fn display_name(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

/// Opens or creates the database for writing, and migrates its schema.
pub(super) fn create(file: &Path) -> Result<Connection, OpenError> {
    let database = || display_name(file);
    let folder = create_file(file).map_err(|source| unreachable(file, source))?;
    // Two cores may start at once. Locks the folder: closing the file itself would release SQLite's locks.
    folder.lock().map_err(|source| unreachable(file, source))?;
    let mut db = writer(file).map_err(|source| unreachable(file, source))?;
    let runner = migration::strict(migrations::runner());
    let report = migration::outcome(&runner, database(), runner.run(&mut db));
    drop(folder);
    report.map(|()| db)
}

pub(crate) fn unreachable(file: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
    OpenError::Unreachable { database: display_name(file), source: source.into() }
}

/// Folder of `file`.
pub(super) fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates the folder of `file`, with mode 0700, if it does not exist.
pub(crate) fn create_folder(file: &Path) -> io::Result<&Path> {
    let folder = folder(file);
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    Ok(folder)
}

/// Creates the file, with mode 0600, if it does not exist. Returns its folder.
fn create_file(file: &Path) -> io::Result<File> {
    let folder = create_folder(file)?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(_) | Err(_) => {}
    }
    File::open(folder)
}

/// Opens a connection for writing.
pub(super) fn writer(file: &Path) -> rusqlite::Result<Connection> {
    let db = open(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    // Overwrites deleted content: erased texts must not stay in free pages.
    db.pragma_update(None, "secure_delete", "ON")?;
    // The checkpointer does it outside of commits.
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
    Ok(db)
}

/// Opens a connection for reading.
pub(super) fn reader(file: &Path) -> rusqlite::Result<Connection> {
    open(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open(file: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENT_CACHE_CAPACITY);
    Ok(db)
}
