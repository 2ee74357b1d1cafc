//! A program from its command line to its exit code.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use clap::Parser;

use crate::args::parse_args;
use crate::config_error::ConfigError;
use crate::env::load_dotenv;

/// Exit code of a bad configuration (`EX_CONFIG` of sysexits.h).
const EX_CONFIG: u8 = 78;

/// Exit code of a failure that passes by itself (`EX_TEMPFAIL`): starting again later may succeed.
const EX_TEMPFAIL: u8 = 75;

/// An error after which the same program, started again later with the same settings, may succeed.
#[derive(Debug)]
pub struct TemporaryFailure(Box<dyn Error>);

impl TemporaryFailure {
    /// Marks `error`.
    pub fn new(error: impl Into<Box<dyn Error>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for TemporaryFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for TemporaryFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Reads `.env`, the command line and the environment, and runs the program `name` with them.
///
/// What goes wrong is one message on standard error. The exit code is 78 for a bad
/// configuration, 75 for a [`TemporaryFailure`], 1 for anything else that went wrong.
#[expect(clippy::print_stderr, reason = "there may be no log yet, and people start it by hand")]
pub fn run_program<A: Parser>(name: &str, run: impl FnOnce(&A) -> Result<(), Box<dyn Error>>) -> ExitCode {
    let outcome = match load_dotenv().map(|()| parse_args::<A>()) {
        Ok(Ok(args)) => run(&args),
        Ok(Err(error)) => {
            // `--help` is an error to clap, and a reader that went away is none to us.
            let _broken_pipe = error.print();
            return if error.use_stderr() { EX_CONFIG.into() } else { ExitCode::SUCCESS };
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            if error.is::<ConfigError>() {
                EX_CONFIG.into()
            } else if error.is::<TemporaryFailure>() {
                EX_TEMPFAIL.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
