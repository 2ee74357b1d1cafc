//! Temporary folder of a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::LoadError;

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// Folder that is removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(parent: &Path) -> Result<Self, LoadError> {
        // Numbered, because tests run several loads in one process.
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("loadgen-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).map_err(|source| LoadError::File { path: path.clone(), source })?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Creates a folder in it.
    pub(crate) fn subfolder(&self, name: &str) -> Result<PathBuf, LoadError> {
        let path = self.0.join(name);
        fs::create_dir_all(&path).map_err(|source| LoadError::File { path: path.clone(), source })?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Best effort: leftovers are in the temporary folder, under a recognizable name.
        let _ = fs::remove_dir_all(&self.0);
    }
}
