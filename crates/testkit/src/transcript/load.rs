//! Loader of the transcript directory.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::transcript::{ParseError, Transcript};

/// Failure to load transcripts.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A directory or file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Path that was read.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// A file that is not a transcript.
    #[error("{0} is not called NNN-name.txt")]
    Stray(PathBuf),
    /// No transcripts: the directory has moved, and nothing would be tested.
    #[error("no transcripts in {0}")]
    Empty(PathBuf),
    /// A number is used twice.
    #[error("number {0:03} is used twice")]
    Twice(u32),
    /// A file does not parse.
    #[error(transparent)]
    Parse(#[from] ParseError),
}

/// Returns the directory of this workspace's transcripts.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto-line/transcripts")
}

/// Loads every file in `folder`, sorted by number.
///
/// # Errors
///
/// The directory is empty, a file is not a transcript, or a number is used twice.
pub fn load_all(folder: &Path) -> Result<Vec<Transcript>, LoadError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LoadError::Io { path, source }
    };
    let mut transcripts = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !is_transcript(name) {
            return Err(LoadError::Stray(path));
        }
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        transcripts.push(Transcript::parse(name, &text)?);
    }
    if transcripts.is_empty() {
        return Err(LoadError::Empty(folder.to_owned()));
    }
    transcripts.sort_by_key(|transcript| transcript.number);
    let mut seen = HashSet::new();
    match transcripts.iter().find(|transcript| !seen.insert(transcript.number)) {
        Some(second) => Err(LoadError::Twice(second.number)),
        None => Ok(transcripts),
    }
}

/// Returns true for `NNN-name.txt`.
fn is_transcript(name: &str) -> bool {
    let Some((number, rest)) = name.split_once('-') else { return false };
    number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit()) && rest.ends_with(".txt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_the_contract() {
        let transcripts = load_all(&folder()).unwrap();
        assert!(60 <= transcripts.len(), "only {}", transcripts.len());
    }

    #[test]
    fn bad_folders_are_errors() {
        let root = std::env::temp_dir().join(format!("psicoia-transcripts-{}", std::process::id()));
        let good = |number: &str| format!("# {number}: x.\n@face plain\n< hola\n");
        type Case = (&'static str, Vec<(&'static str, String)>, fn(&LoadError) -> bool);
        let cases: &[Case] = &[
            ("empty", vec![], |error| matches!(error, LoadError::Empty(_))),
            ("stray", vec![("notes.txt", good("001"))], |error| matches!(error, LoadError::Stray(_))),
            ("twice", vec![("001-a.txt", good("001")), ("001-b.txt", good("001"))], |error| {
                matches!(error, LoadError::Twice(1))
            }),
            ("wrong", vec![("001-a.txt", good("002"))], |error| matches!(error, LoadError::Parse(_))),
        ];
        for (name, files, check) in cases {
            let folder = root.join(name);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in files {
                fs::write(folder.join(file), text).unwrap();
            }
            let error = load_all(&folder).unwrap_err();
            assert!(check(&error), "{name}: {error}");
        }
        assert!(matches!(load_all(&root.join("absent")), Err(LoadError::Io { .. })));
        fs::remove_dir_all(root).unwrap();
    }
}
