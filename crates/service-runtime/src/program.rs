//! Start of a service: from the command line to the exit code.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Parsed, variables};
use crate::config_error::ConfigError;
use crate::env::Dotenv;

/// Exit code for command-line errors, as in clap.
const USAGE: u8 = 2;
/// Exit code for configuration errors (`EX_CONFIG` of sysexits.h).
const EX_CONFIG: u8 = 78;

/// Exit code for temporary failures (`EX_TEMPFAIL`): a restart may succeed.
const EX_TEMPFAIL: u8 = 75;

/// A temporary failure: a restart with the same settings may succeed.
#[derive(Debug)]
pub struct TemporaryFailure(Box<dyn Error>);

impl TemporaryFailure {
    /// Wraps `error`.
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

/// Arguments of a service.
pub trait ServiceArgs: Parser {
    /// The checked configuration; `Display` summarises it in a few lines.
    type Config: fmt::Display;

    /// Validates every setting.
    ///
    /// # Errors
    ///
    /// Lists all problems, each by its variable.
    fn check(&self) -> Result<Self::Config, ConfigError>;

    /// Returns true for `--check-config`.
    fn only_checks(&self) -> bool;

    /// Runs a subcommand that needs no configuration and returns its exit code: a problem in `.env` must not block it.
    fn run_without_settings(&self) -> Option<ExitCode> {
        None
    }
}

/// Reads `.env`, the command line and the environment, and runs the program `name`.
///
/// Prints one message to standard error on failure; one message lists all configuration problems. Exit codes: 2 for
/// command-line errors, 78 for configuration errors, 75 for a [`TemporaryFailure`], 1 for any other failure.
#[expect(clippy::print_stderr, clippy::print_stdout, reason = "there may be no log yet, and people start it by hand")]
pub fn run_program<A: ServiceArgs>(
    name: &str,
    run: impl FnOnce(&A, A::Config) -> Result<(), Box<dyn Error>>,
) -> ExitCode {
    let mut dotenv = Dotenv::load(&variables::<A>());
    let Parsed { args, usage } = Parsed::<A>::read(&mut dotenv);
    // clap reports `--help` as an error; a closed pipe is not one.
    if let Some(help) = usage.as_ref().filter(|error| !error.use_stderr()) {
        let _broken_pipe = help.print();
        return ExitCode::SUCCESS;
    }
    if let (Some(args), None) = (&args, &usage)
        && let Some(code) = args.run_without_settings()
    {
        return code;
    }
    let mut problems = std::mem::take(&mut dotenv.problems.problems);
    let checked = args.map(|args| (args.check(), args));
    if let Some((Err(error), _)) = &checked {
        problems.extend(error.problems.iter().map(|problem| dotenv.located(problem.clone())));
    }
    let problems = ConfigError { problems };
    if !problems.is_empty() {
        eprintln!("{name}: {problems}");
    }
    if let Some(error) = usage {
        let _broken_pipe = error.print();
        return USAGE.into();
    }
    let Some((Ok(config), args)) = checked.filter(|_| problems.is_empty()) else { return EX_CONFIG.into() };
    if args.only_checks() {
        println!("{}", good(name, &config));
        return ExitCode::SUCCESS;
    }
    match run(&args, config) {
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

fn good(name: &str, config: &impl fmt::Display) -> String {
    let mut text = format!("{name}: the configuration is good");
    for line in config.to_string().lines() {
        let _infallible = write!(text, "\n  {line}");
    }
    text
}
