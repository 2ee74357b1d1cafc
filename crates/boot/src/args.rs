//! The command line and the environment, before anything is checked.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Command, Parser};

use crate::config_error::ConfigError;
use crate::env::Dotenv;

/// The variables that `A` reads.
pub(crate) fn variables<A: Parser>() -> BTreeSet<String> {
    let command = A::command();
    let names = command.get_arguments().filter_map(|arg| arg.get_env());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// The command line and the environment.
#[derive(Debug)]
pub(crate) struct Parsed<A> {
    /// `None` if not even a part of them can be read.
    pub(crate) args: Option<A>,
    /// An unknown flag, or `--help` and `--version`, which clap has as errors of their own kind. Then the
    /// arguments are those that can be read, so that other mistakes are told as well.
    pub(crate) usage: Option<clap::Error>,
}

impl<A: Parser> Parsed<A> {
    /// Reads the command line, then the environment. A variable that is set to nothing counts
    /// as not set, so that `NAME=` in `.env` or a compose file means the default.
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
            // What a flag says is not the fault of a line in `.env`.
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

/// Takes away variables that are set to nothing, and those that are no text, which clap would refuse one
/// at a time. Paths need not be text.
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
    /// The number `text` if it lies in `range`; otherwise the problem is noted and the
    /// range's start stands in, for a configuration that will not be used.
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

    /// Like [`ConfigError::number`], in seconds, fractions allowed.
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
