//! Loads `.env` from the working directory into the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::config_error::ConfigError;
use crate::dotenv::{self, Setting};
use crate::known_variables::{is_known_variable, nearest};

const FILE: &str = ".env";

/// Settings that came from `.env`.
#[derive(Debug, Default)]
pub(crate) struct Dotenv {
    /// Line number of each variable whose value came from the file.
    pub(crate) lines: BTreeMap<String, usize>,
    /// Problems of the file.
    pub(crate) problems: ConfigError,
}

impl Dotenv {
    /// Adds the settings of `.env` in the working directory to the environment; variables that are already set, even to
    /// nothing, take precedence. Of two equal names the last one counts, as in docker compose. Must be called first in
    /// `main`, before any thread exists: changing the environment is not thread-safe.
    ///
    /// `own` are the program's own variables. A missing `.env` is no problem.
    pub(crate) fn load(own: &BTreeSet<String>) -> Self {
        match std::fs::read(FILE) {
            Ok(file) => Self::of(&file, own),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                Self { problems: ConfigError { problems: vec![format!("{FILE}: {error}")] }, ..Self::default() }
            }
        }
    }

    fn of(file: &[u8], own: &BTreeSet<String>) -> Self {
        let (settings, wrong) = dotenv::parse(file);
        let mut problems: Vec<_> = wrong.iter().map(|problem| (problem.line, problem.why.to_owned())).collect();
        problems.extend(settings.iter().filter_map(|setting| Some((setting.line, unknown(&setting.name, own)?))));
        problems.sort();
        let problems = problems.into_iter().map(|(line, why)| format!("{FILE}, line {line}: {why}")).collect();
        let mut dotenv = Self { lines: BTreeMap::new(), problems: ConfigError { problems } };
        dotenv.set(settings);
        dotenv
    }

    fn set(&mut self, settings: Vec<Setting>) {
        let unset = settings.into_iter().filter(|setting| std::env::var_os(&setting.name).is_none());
        let values: BTreeMap<_, _> = unset.map(|Setting { line, name, value }| (name, (line, value))).collect();
        let text: String = values.iter().map(|(name, (_, value))| format!("{name}={}\n", quoted(value))).collect();
        // Setting a variable is unsafe while other threads exist; dotenvy wraps it, and the caller guarantees that none
        // do.
        self.problems.check(FILE, dotenvy::from_read(text.as_bytes()));
        self.lines = values.into_iter().map(|(name, (line, _))| (name, line)).collect();
    }

    /// Appends the line number to a problem whose variable came from the file.
    pub(crate) fn located(&self, problem: String) -> String {
        match problem.split_once(": ").and_then(|(variable, _)| self.lines.get(variable)) {
            Some(line) => format!("{problem} ({FILE}, line {line})"),
            None => problem,
        }
    }
}

fn unknown(name: &str, own: &BTreeSet<String>) -> Option<String> {
    if own.contains(name) || is_known_variable(name) {
        return None;
    }
    let meant = nearest(name, own.iter().map(String::as_str)).map(|meant| format!("; did you mean {meant}?"));
    Some(format!("{name} is no setting{}", meant.unwrap_or_default()))
}

/// Quotes the value so that dotenvy reads it back unchanged.
fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_trip() {
        for value in
            ["", "a b", "gsk$abc", "${HOME}", "it's", "\"q\"", "a\\", "\\$x\\n", "a\nb", "a # b", "ñ\t=", "a\rb"]
        {
            let line = format!("NAME={}\n", quoted(value));
            let read: Vec<_> = dotenvy::from_read_iter(line.as_bytes()).collect::<Result<_, _>>().unwrap();
            assert_eq!(read, [("NAME".to_owned(), value.to_owned())], "{value:?}");
        }
    }

    #[test]
    fn reports_line_numbers() {
        let own = BTreeSet::from(["OWN_SETTING_OF_A_TEST".to_owned()]);
        let file = b"OWN_SETTING_OF_A_TEST=1\nAPP_PROT=2\nx\nOWN_SETTING_OF_A_TEST=3\nNOT_ONE=4\nHTTP_PORT=80\n";
        let dotenv = Dotenv::of(file, &own);
        assert_eq!(
            dotenv.problems.problems,
            [
                ".env, line 2: APP_PROT is no setting; did you mean APP_PORT?",
                ".env, line 3: not NAME=value",
                ".env, line 5: NOT_ONE is no setting"
            ]
        );
        assert_eq!(
            dotenv.located("OWN_SETTING_OF_A_TEST: bad".to_owned()),
            "OWN_SETTING_OF_A_TEST: bad (.env, line 4)"
        );
        assert_eq!(dotenv.located("ELSEWHERE: bad".to_owned()), "ELSEWHERE: bad");
        let value = std::env::var_os("OWN_SETTING_OF_A_TEST");
        assert_eq!(value, Some("3".into()), "the last one counts");
    }
}
