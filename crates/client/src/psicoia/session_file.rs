//! Where the session's secret is kept between runs: a file that only its owner can read.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use client::{Address, UserText};
use tempfile::NamedTempFile;

use crate::exit::Exit;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionFile(PathBuf);

impl SessionFile {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The file for `address`, as the XDG base directory specification has it; `None` where
    /// there is no home.
    pub(crate) fn of(address: &Address, state: Option<PathBuf>) -> Option<Self> {
        let absolute = state.filter(|path| path.is_absolute());
        let state = absolute.or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
        let kept = |letter: char| letter.is_ascii_alphanumeric() || letter == '.' || letter == '-';
        let name: String = address.to_string().chars().map(|it| if kept(it) { it } else { '_' }).collect();
        Some(Self(state.join("psicoia").join(name)))
    }

    /// The secret; `None` if there is none.
    pub(crate) fn read(&self) -> Result<Option<UserText>, Exit> {
        match fs::read_to_string(&self.0) {
            Ok(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(UserText::new)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Keeps `token`. Whole or not at all: another run may be reading.
    pub(crate) fn write(&self, token: &UserText) -> Result<(), Exit> {
        if self.read()?.as_ref() == Some(token) {
            return Ok(());
        }
        self.replace(token).map_err(|error| self.failed(error))
    }

    pub(crate) fn remove(&self) -> Result<(), Exit> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    fn replace(&self, token: &UserText) -> io::Result<()> {
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // Made with mode 0600.
        let mut file = NamedTempFile::new_in(folder)?;
        writeln!(file, "{}", token.expose())?;
        file.persist(&self.0)?;
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Exit {
        Exit::SessionFile(self.0.clone(), error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_kept_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let address = "ws://[::1]:8765/ws".parse().unwrap();
        let file = SessionFile::of(&address, Some(folder.path().join("state"))).unwrap();
        assert!(file.0.ends_with("psicoia/ws___-_1_8765_ws") || file.0.starts_with(folder.path()), "{file:?}");
        assert_eq!(file.read().unwrap(), None);
        for token in ["one", "two", "two"] {
            file.write(&UserText::new(token)).unwrap();
            assert_eq!(file.read().unwrap().unwrap().expose(), token);
            assert_eq!(fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let folder = file.0.parent().unwrap();
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
        file.remove().unwrap();
        file.remove().unwrap();
        assert_eq!(file.read().unwrap(), None);
    }
}
