//! Command line and environment, unchecked.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Command, Parser};

use crate::config_error::ConfigError;
use crate::env::Dotenv;

/// Returns the environment variables that `A` reads.
pub(crate) fn variables<A: Parser>() -> BTreeSet<String> {
    let command = A::command();
    let names = command.get_arguments().filter_map(|arg| arg.get_env());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// Parsed command line and environment.
#[derive(Debug)]
pub(crate) struct Parsed<A> {
    /// `None` if nothing could be parsed.
    pub(crate) args: Option<A>,
    /// An unknown flag, or `--help` and `--version`, which clap reports as errors. The arguments are then parsed
    /// leniently, so that other problems are reported as well.
    pub(crate) usage: Option<clap::Error>,
}

impl<A: Parser> Parsed<A> {
    /// Parses the command line, then the environment. An empty variable counts as unset, so that `NAME=` in `.env` or a
    /// compose file means the default.
    pub(crate) fn read(dotenv: &mut Dotenv) -> Self {
        let mut command = with_usable_variables(A::command(), &mut dotenv.problems);
        let (matches, usage) = match command.try_get_matches_from_mut(std::env::args_os()) {
            Ok(matches) => (Some(matches), None),
            Err(error) => {
                let mut lenient = command.clone().ignore_errors(true);
                (lenient.try_get_matches_from_mut(std::env::args_os()).ok(), Some(error))
            }
        };
        let Some(matches) = matches else { return Self { args: None, usage } };
        for arg in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
            // A flag overrides `.env`: its problems must not be attributed to a line there.
            if matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine) {
                dotenv.lines.retain(|name, _| arg.get_env() != Some(name.as_ref()));
            }
        }
        match A::from_arg_matches(&matches) {
            Ok(args) => Self { args: Some(args), usage },
            Err(error) => Self { args: None, usage: usage.or(Some(error)) },
        }
    }
}

/// Drops empty variables, and those that are not UTF-8, which clap would report one at a time. Paths need not be UTF-8.
fn with_usable_variables(command: Command, problems: &mut ConfigError) -> Command {
    command.mut_args(|arg| {
        let Some(name) = arg.get_env().map(|name| name.to_string_lossy().into_owned()) else { return arg };
        let Some(value) = std::env::var_os(&name) else { return arg };
        let no_text = value.to_str().is_none() && !name.ends_with("_FILE");
        if no_text {
            problems.add(&name, "not UTF-8");
        }
        if no_text || value.is_empty() { arg.env(None::<&'static str>) } else { arg }
    })
}

impl ConfigError {
    /// Parses `text` as a number in `range`. On failure notes the problem and returns the range's start, for a
    /// configuration that is then discarded.
    pub fn number<T>(&mut self, variable: &str, text: &str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Copy + std::fmt::Display,
    {
        match text.trim().parse::<T>() {
            Ok(value) if range.contains(&value) => value,
            _ => {
                let (start, end) = (range.start(), range.end());
                self.add(variable, format_args!("{text:?} is not a number from {start} to {end}"));
                *range.start()
            }
        }
    }

    /// Like [`ConfigError::number`], in seconds; fractions are allowed.
    pub fn seconds(&mut self, variable: &str, text: &str, range: RangeInclusive<f64>) -> Duration {
        Duration::from_secs_f64(self.number(variable, text, range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_numbers_out_of_range() {
        let mut problems = ConfigError::default();
        assert_eq!(problems.number("APP_PORT", "5001", 0..=65_535u16), 5001);
        assert_eq!(problems.seconds("LLM_BACKOFF_INITIAL", "0.5", 0.0..=60.0), Duration::from_millis(500));
        assert!(problems.is_empty());
        for text in ["", "x", "-1", "70000", "NaN"] {
            problems.number("APP_PORT", text, 0..=65_535u16);
            problems.seconds("IDLE_SECONDS", text, 1.0..=60.0);
        }
        assert_eq!(problems.problems.len(), 10);
        assert_eq!(problems.problems[0], r#"APP_PORT: "" is not a number from 0 to 65535"#);
    }
}
