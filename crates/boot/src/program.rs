//! A program from its command line to its exit code.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Parsed, variables};
use crate::config_error::ConfigError;
use crate::env::Dotenv;

/// Exit code of a command line that cannot be read, as clap has it.
const USAGE: u8 = 2;
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

/// The arguments of a service.
pub trait ServiceArgs: Parser {
    /// Its checked settings; shown, they say in a few lines what the service would do.
    type Config: fmt::Display;

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// Names all that is wrong, by variable.
    fn check(&self) -> Result<Self::Config, ConfigError>;

    /// Whether nothing else is to be done (`--check-config`).
    fn only_checks(&self) -> bool;

    /// Does what needs no settings, if that is what the arguments are for, and returns the exit code: a
    /// mistake in `.env` must not stand in its way.
    fn run_without_settings(&self) -> Option<ExitCode> {
        None
    }
}

/// Reads `.env`, the command line and the environment, and runs the program `name` with them.
///
/// What goes wrong is one message on standard error; all that is wrong with the configuration is one
/// message. The exit code is 2 for a command line that cannot be read, 78 for a bad configuration, 75 for a
/// [`TemporaryFailure`], 1 for anything else that went wrong.
#[expect(clippy::print_stderr, clippy::print_stdout, reason = "there may be no log yet, and people start it by hand")]
pub fn run_program<A: ServiceArgs>(
    name: &str,
    run: impl FnOnce(&A, A::Config) -> Result<(), Box<dyn Error>>,
) -> ExitCode {
    let mut dotenv = Dotenv::load(&variables::<A>());
    let Parsed { args, usage } = Parsed::<A>::read(&mut dotenv);
    // `--help` is an error to clap, and a reader that went away is none to us.
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
