//! Exit codes and error reports.

use std::io::{self, Write as _};

use client::Closed;

use crate::sanitize::sanitize;
use crate::strings::Strings;

/// Error that ends the program; `--help` lists the exit codes.
#[derive(Debug)]
pub(crate) enum Exit {
    /// The conversation is over.
    Closed(Closed),
    /// Messages from a pipe remain unanswered.
    Unanswered,
    /// The session file cannot be written or read.
    SessionFile(std::path::PathBuf, io::Error),
    /// Standard input or output failed.
    Io(io::Error),
    Other(String),
}

impl Exit {
    fn code(&self) -> u8 {
        match self {
            Self::Closed(Closed::BadResume { .. }) => 66,
            Self::Closed(Closed::Unreachable { .. }) => 69,
            Self::Closed(Closed::Refused { .. }) => 77,
            Self::SessionFile(..) => 73,
            Self::Io(_) => 74,
            Self::Unanswered => 75,
            Self::Closed(_) | Self::Other(_) => 1,
        }
    }

    /// Prints the error on standard error and returns the exit code.
    pub(crate) fn report(&self, strings: &Strings) -> u8 {
        let why = match self {
            Self::Closed(reason @ Closed::Unreachable { .. }) => format!("{reason}\n{}", strings.start_it),
            Self::Closed(reason) => reason.to_string(),
            Self::SessionFile(path, error) => format!("{}: {error}", path.display()),
            Self::Other(why) => why.clone(),
            // Reported before, or the reader of the output is gone.
            Self::Unanswered => return self.code(),
            Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => return self.code(),
            Self::Io(error) => error.to_string(),
        };
        let _ = writeln!(io::stderr().lock(), "psicoia: {}", sanitize(&why));
        self.code()
    }
}

impl From<io::Error> for Exit {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
