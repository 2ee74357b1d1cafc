//! The command line and the environment, before anything is checked.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgMatches, Command, Parser};

use crate::config_error::ConfigError;

/// Reads the command line, then the environment. A variable that is set to nothing counts
/// as not set, so that `NAME=` in `.env` or a compose file means the default.
///
/// # Errors
///
/// An unknown flag, or `--help` and `--version`, which clap prints as errors of their own kind.
pub(crate) fn parse_args<A: Parser>() -> Result<A, clap::Error> {
    let command = without_empty_variables(A::command());
    let matches: ArgMatches = command.try_get_matches()?;
    A::from_arg_matches(&matches)
}

fn without_empty_variables(command: Command) -> Command {
    command.mut_args(|arg| {
        let empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if empty { arg.env(None::<&'static str>) } else { arg }
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
    fn numbers_outside_their_range_are_named() {
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
