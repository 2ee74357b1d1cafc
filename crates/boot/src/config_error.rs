//! Every problem of a configuration at once.

use std::fmt;

/// What is wrong with a configuration: one sentence per problem, each beginning with
/// the variable's name, so that one start shows all there is to mend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigError {
    /// The problems, in the order of the configuration.
    pub problems: Vec<String>,
}

impl ConfigError {
    /// Notes that `variable` is wrong because `why`.
    pub fn add(&mut self, variable: &str, why: impl fmt::Display) {
        self.problems.push(format!("{variable}: {why}"));
    }

    /// `value`, or the noted problem that `variable` is wrong.
    pub fn check<T, E: fmt::Display>(&mut self, variable: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|why| self.add(variable, why)).ok()
    }

    /// Whether nothing is wrong.
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
