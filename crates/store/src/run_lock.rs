//! Exclusive use of an SQLite file by one core.
//!
//! Two cores on one file would each grant the whole of every limit, and serve stale cached history.
//! `core-server rekey` and the tools of SQLite do not take the lock: they may run beside a core.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::error::OpenError;
use super::sqlite::{create_folder, display_name, unreachable};
use super::url::DatabaseUrl;

/// Advisory lock beside a database file, released when it is dropped or the process ends: a killed core
/// leaves no stale lock.
#[derive(Debug)]
#[must_use = "the lock ends with it"]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Acquires the lock of the database at `url`; `None` for a server, which several cores may use.
    ///
    /// # Errors
    ///
    /// Another core holds it, or the folder cannot be written.
    pub fn take(url: &DatabaseUrl) -> Result<Option<Self>, OpenError> {
        match url {
            DatabaseUrl::Sqlite(file) => Self::of_file(file).map(Some),
            DatabaseUrl::Postgres(_) => Ok(None),
        }
    }

    fn of_file(database: &Path) -> Result<Self, OpenError> {
        let io = |source| unreachable(database, source);
        let mut file = open(database).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Best effort: the process id only improves the error message.
                let _ = file.read_to_string(&mut holder);
                return Err(OpenError::InUse { database: display_name(database), holder: holder.trim().parse().ok() });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
        Ok(Self { _file: file })
    }
}

/// Opens the lock file beside the database, with symbolic links resolved: they name the same database.
///
/// It must not be the database itself, since closing that would release SQLite's POSIX locks. It is never
/// deleted: another core may have opened it already.
fn open(database: &Path) -> io::Result<File> {
    let folder = create_folder(database)?;
    let database = match fs::canonicalize(database) {
        Ok(database) => database,
        // The database does not exist yet.
        Err(_) => folder.canonicalize()?.join(database.file_name().unwrap_or_default()),
    };
    let mut name = database.into_os_string();
    name.push(".lock");
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_is_exclusive_per_file_until_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let url = |name: &str| DatabaseUrl::Sqlite(folder.path().join("data").join(name));
        let first = RunLock::take(&url("a.db")).unwrap().unwrap();
        let error = RunLock::take(&url("a.db")).unwrap_err();
        let (text, pid) = (error.to_string(), std::process::id());
        assert!(text.contains(&format!("core-server (process {pid}) uses sqlite://")), "{text}");
        assert!(RunLock::take(&url("b.db")).unwrap().is_some());
        std::fs::write(folder.path().join("data/a.db"), "").unwrap();
        std::os::unix::fs::symlink("data/a.db", folder.path().join("link.db")).unwrap();
        let linked = DatabaseUrl::Sqlite(folder.path().join("link.db"));
        assert!(matches!(RunLock::take(&linked), Err(OpenError::InUse { .. })));
        drop(first);
        assert!(RunLock::take(&url("a.db")).unwrap().is_some());
        assert!(RunLock::take(&"postgres://ana@host/db".parse().unwrap()).unwrap().is_none());
    }
}
