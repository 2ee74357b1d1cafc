//! How the program ends when it does not end well.

use std::io::{self, Write as _};

use client::Closed;

use crate::printable::printable;
use crate::words::Words;

/// Why the program ends; its number is in `--help`.
#[derive(Debug)]
pub(crate) enum Exit {
    /// The conversation cannot go on.
    Closed(Closed),
    /// Messages from a pipe have no answer.
    Unanswered,
    /// The session file cannot be written or read.
    SessionFile(std::path::PathBuf, io::Error),
    /// Whoever reads the output is gone, or the input cannot be read.
    Io(io::Error),
    /// Anything else.
    Other(String),
}

impl Exit {
    fn code(&self) -> u8 {
        match self {
            Self::Closed(Closed::BadResume { .. }) => 66,
            Self::Closed(Closed::GaveUp { .. }) => 69,
            Self::Closed(Closed::Refused { .. }) => 77,
            Self::SessionFile(..) => 73,
            Self::Io(_) => 74,
            Self::Unanswered => 75,
            Self::Closed(_) | Self::Other(_) => 1,
        }
    }

    /// Says why on standard error; returns the exit code.
    pub(crate) fn report(&self, words: &Words) -> u8 {
        let why = match self {
            Self::Closed(reason @ Closed::GaveUp { .. }) => format!("{reason}\n{}", words.start_it),
            Self::Closed(reason) => reason.to_string(),
            Self::SessionFile(path, error) => format!("{}: {error}", path.display()),
            Self::Other(why) => why.clone(),
            // Said before, or nobody is there to read it.
            Self::Unanswered => return self.code(),
            Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => return self.code(),
            Self::Io(error) => error.to_string(),
        };
        let _ = writeln!(io::stderr().lock(), "psicoia: {}", printable(&why));
        self.code()
    }
}

impl From<io::Error> for Exit {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
