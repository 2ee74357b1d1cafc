//! Operator of the service, as shown to its users.

use crate::config_error::ConfigError;

/// Maximum length of name and contact, in characters.
const MAX_CHARS: usize = 200;

/// Operator of the service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operator {
    /// Name (`OPERATOR_NAME`).
    pub name: Option<String>,
    /// Contact address (`OPERATOR_CONTACT`).
    pub contact: Option<String>,
}

impl Operator {
    /// Validates both: one line of text each.
    pub fn check(problems: &mut ConfigError, name: Option<&str>, contact: Option<&str>) -> Self {
        let mut line = |variable: &str, text: Option<&str>| {
            let text = text.map(str::trim).filter(|text| !text.is_empty())?;
            if text.contains(char::is_control) || MAX_CHARS < text.chars().count() {
                problems.add(variable, format_args!("must be one line of at most {MAX_CHARS} characters"));
                return None;
            }
            Some(text.to_owned())
        };
        Self { name: line("OPERATOR_NAME", name), contact: line("OPERATOR_CONTACT", contact) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_each() {
        let mut problems = ConfigError::default();
        let operator = Operator::check(&mut problems, Some(" Casa "), Some(""));
        assert_eq!(operator, Operator { name: Some("Casa".to_owned()), contact: None });
        assert!(problems.is_empty());
        Operator::check(&mut problems, Some("a\nb"), Some(&"x".repeat(MAX_CHARS + 1)));
        assert_eq!(problems.problems.len(), 2, "{problems}");
    }
}
