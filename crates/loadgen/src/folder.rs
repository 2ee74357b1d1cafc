//! A folder for the processes of a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::LoadError;

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// A folder of our own, removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes one in `parent`.
    pub(crate) fn new(parent: &Path) -> Result<Self, LoadError> {
        // Several runs of one process, as tests make them, have one each.
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("loadgen-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).map_err(|source| LoadError::File { path: path.clone(), source })?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A new folder in it.
    pub(crate) fn room(&self, name: &str) -> Result<PathBuf, LoadError> {
        let path = self.0.join(name);
        fs::create_dir_all(&path).map_err(|source| LoadError::File { path: path.clone(), source })?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever tidies the temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}
