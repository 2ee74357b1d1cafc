//! Session file: stores resume tokens between runs, readable by its owner only.
//!
//! The first line is the current token. Each further line is an earlier token, newest first, with
//! the time at which it was replaced. A token is removed when its session was erased, or as the
//! oldest beyond [`MAX_EARLIER`]; not when a server does not know it, because the server may run
//! with another database for a while.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use client::{Address, UserText};
use protocol::Timestamp;
use tempfile::NamedTempFile;

use crate::exit::Exit;

/// The bound of the library.
const MAX_EARLIER: usize = 32;
/// Attempts to lock and the pause between them: three seconds in total for a change of another run that takes
/// milliseconds.
const LOCK_TRIES: u32 = 300;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionFile(PathBuf);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) current: Option<UserText>,
    earlier: Vec<Earlier>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Earlier {
    token: UserText,
    /// Time of replacement, verbatim as in the file.
    since: String,
}

impl Tokens {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim);
        let current = lines.next().filter(|line| !line.is_empty()).map(UserText::new);
        let earlier = lines.filter_map(|line| {
            let (token, since) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            (!token.is_empty()).then(|| Earlier { token: UserText::new(token), since: since.trim().to_owned() })
        });
        Self { current, earlier: earlier.collect() }
    }

    fn text(&self) -> String {
        let current = self.current.as_ref().map_or("", UserText::expose);
        let earlier = self.earlier.iter().map(|Earlier { token, since }| format!("{} {since}\n", token.expose()));
        format!("{current}\n{}", earlier.collect::<String>())
    }

    pub(crate) fn earlier(&self) -> impl Iterator<Item = &UserText> {
        self.earlier.iter().map(|earlier| &earlier.token)
    }

    /// Makes `token` the current one; the former becomes the newest earlier one.
    fn keep(&mut self, token: &UserText, now: &str) {
        let before = self.current.replace(token.clone()).filter(|before| before != token);
        self.earlier.retain(|earlier| earlier.token != *token);
        self.earlier.splice(0..0, before.map(|token| Earlier { token, since: now.to_owned() }));
        self.earlier.truncate(MAX_EARLIER);
    }

    /// Removes the token of an erased session.
    fn drop_erased(&mut self, token: &UserText) {
        self.current.take_if(|current| current == token);
        self.earlier.retain(|earlier| earlier.token != *token);
    }
}

impl SessionFile {
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Path for `address` after the XDG base directory specification; `None` without a home
    /// directory.
    pub(crate) fn of(address: &Address, state: Option<PathBuf>) -> Option<Self> {
        let absolute = state.filter(|path| path.is_absolute());
        let state = absolute.or_else(|| Some(std::env::home_dir()?.join(".local/state")))?;
        let kept = |letter: char| letter.is_ascii_alphanumeric() || letter == '.' || letter == '-';
        let name: String = address.to_string().chars().map(|it| if kept(it) { it } else { '_' }).collect();
        Some(Self(state.join("psicoia").join(name)))
    }

    /// Reads the tokens; a missing file is empty.
    pub(crate) fn read(&self) -> Result<Tokens, Exit> {
        match fs::read_to_string(&self.0) {
            Ok(text) => Ok(Tokens::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Tokens::default()),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Stores `token` as the current one and keeps the former.
    #[expect(clippy::disallowed_methods, reason = "the edge: the date is only written, never compared")]
    pub(crate) fn keep(&self, token: &UserText) -> Result<(), Exit> {
        let now = Timestamp::from(SystemTime::now());
        self.change(|tokens| tokens.keep(token, &now.to_string()))
    }

    /// Removes the token of an erased session.
    pub(crate) fn drop_erased(&self, token: &UserText) -> Result<(), Exit> {
        self.change(|tokens| tokens.drop_erased(token))
    }

    fn change(&self, change: impl FnOnce(&mut Tokens)) -> Result<(), Exit> {
        let _lock = self.lock().map_err(|error| self.failed(error))?;
        // Read under the lock: another run may have written since this one started.
        let before = self.read()?;
        let mut tokens = before.clone();
        change(&mut tokens);
        if tokens == before {
            return Ok(());
        }
        self.replace(&tokens).map_err(|error| self.failed(error))
    }

    fn folder(&self) -> &Path {
        self.0.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Locks a separate file: the token file is replaced by rename, which would orphan a lock on it.
    fn lock(&self) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.folder())?;
        let mut name = self.0.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(self.folder().join(name))?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            }
        }
        // A suspended run that holds the lock must not block every other one.
        Err(io::Error::new(io::ErrorKind::TimedOut, "another psicoia holds it"))
    }

    /// Replaces the file atomically: readers take no lock, and a crash must not leave an empty file.
    fn replace(&self, tokens: &Tokens) -> io::Result<()> {
        // Created with mode 0600.
        let mut file = NamedTempFile::new_in(self.folder())?;
        file.write_all(tokens.text().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.0)?;
        // The rename must survive a power failure too.
        File::open(self.folder())?.sync_all()
    }

    fn failed(&self, error: io::Error) -> Exit {
        Exit::SessionFile(self.0.clone(), error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn texts(tokens: &Tokens) -> (Option<&str>, Vec<&str>) {
        (tokens.current.as_ref().map(UserText::expose), tokens.earlier().map(UserText::expose).collect())
    }

    #[test]
    fn file_and_folder_are_readable_by_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let address = "ws://[::1]:8765/ws".parse().unwrap();
        let file = SessionFile::of(&address, Some(folder.path().join("state"))).unwrap();
        assert!(file.0.ends_with("psicoia/ws___-_1_8765_ws") || file.0.starts_with(folder.path()), "{file:?}");
        assert_eq!(file.read().unwrap(), Tokens::default());
        for token in ["one", "two", "two"] {
            file.keep(&UserText::new(token)).unwrap();
            assert_eq!(file.read().unwrap().current.unwrap().expose(), token);
            assert_eq!(fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(texts(&file.read().unwrap()), (Some("two"), vec!["one"]));
        let folder = file.0.parent().unwrap();
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["ws______1__8765_ws", "ws______1__8765_ws.lock"].map(std::ffi::OsString::from));
    }

    #[test]
    fn removes_only_erased_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let file = SessionFile::at(folder.path().join("session"));
        ["a", "b", "a", "c"].iter().for_each(|token| file.keep(&UserText::new(*token)).unwrap());
        let tokens = file.read().unwrap();
        assert_eq!(texts(&tokens), (Some("c"), vec!["a", "b"]));
        assert!(tokens.earlier.iter().all(|earlier| earlier.since.starts_with("20")), "{tokens:?}");
        file.drop_erased(&UserText::new("x")).unwrap();
        file.drop_erased(&UserText::new("c")).unwrap();
        assert_eq!(texts(&file.read().unwrap()), (None, vec!["a", "b"]));
        file.drop_erased(&UserText::new("b")).unwrap();
        file.keep(&UserText::new("d")).unwrap();
        assert_eq!(texts(&file.read().unwrap()), (Some("d"), vec!["a"]));
        (0..100).for_each(|number| file.keep(&UserText::new(number.to_string())).unwrap());
        assert_eq!(file.read().unwrap().earlier.len(), MAX_EARLIER);
    }

    #[test]
    fn concurrent_writers_lose_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let file = SessionFile::at(folder.path().join("session"));
        std::thread::scope(|scope| {
            for number in 0..16 {
                let file = &file;
                scope.spawn(move || file.keep(&UserText::new(number.to_string())).unwrap());
            }
        });
        let tokens = file.read().unwrap();
        assert_eq!((tokens.current.iter().count(), tokens.earlier.len()), (1, 15), "{tokens:?}");
    }

    #[test]
    fn times_out_on_a_held_lock() {
        let folder = tempfile::tempdir().unwrap();
        let file = SessionFile::at(folder.path().join("session"));
        let _held = file.lock().unwrap();
        assert!(matches!(file.keep(&UserText::new("a")), Err(Exit::SessionFile(..))));
        assert_eq!(file.read().unwrap(), Tokens::default());
    }
}
