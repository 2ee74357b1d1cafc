//! Configuration problems, collected.

use std::fmt;

/// Problems of a configuration, one sentence each, beginning with the variable's name. Collected, so that one start
/// reports all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigError {
    /// Problems in the order of the configuration.
    pub problems: Vec<String>,
}

impl ConfigError {
    /// Adds the problem `why` of `variable`.
    pub fn add(&mut self, variable: &str, why: impl fmt::Display) {
        self.problems.push(format!("{variable}: {why}"));
    }

    /// Returns the value, or `None` after adding the problem of `variable`.
    pub fn check<T, E: fmt::Display>(&mut self, variable: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|why| self.add(variable, why)).ok()
    }

    /// Returns true without problems.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problems[..] {
            [problem] => write!(f, "bad configuration: {problem}"),
            problems => {
                write!(f, "bad configuration, {} problems:", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}
