//! Patterns for lines of the server.

use std::fmt;

use serde_json::{Map, Value};

use crate::transcript::bindings::{Bindings, split_name};

/// Pattern of an expected line.
#[derive(Debug, Clone, PartialEq)]
pub enum Pattern {
    /// A JSON object: the listed fields must match, others are ignored.
    Frame(Map<String, Value>),
    /// Plain text with placeholders.
    Plain(Vec<Part>),
}

/// Part of a plain pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Literal text.
    Literal(String),
    /// `$name`: at least one character, no white space.
    Name(String),
    /// `$_`: any text, possibly empty.
    Anything,
}

impl Pattern {
    /// Parses the text after `< `.
    pub fn parse(line: &str) -> Self {
        match serde_json::from_str(line) {
            Ok(Value::Object(fields)) => Self::Frame(fields),
            _ => Self::Plain(parts(line)),
        }
    }

    /// Matches `line`; binds the names on success, changes nothing on failure.
    pub fn matches(&self, line: &str, bindings: &mut Bindings) -> bool {
        let mut tried = bindings.clone();
        let fits = match self {
            Self::Frame(fields) => match serde_json::from_str(line) {
                Ok(Value::Object(got)) => fields_fit(fields, &got, &mut tried),
                _ => false,
            },
            Self::Plain(parts) => parts_fit(parts, line, &mut tried),
        };
        if fits {
            *bindings = tried;
        }
        fits
    }

    /// Returns the text of a delta pattern.
    pub(super) fn delta_text(&self) -> Option<&str> {
        match self {
            Self::Frame(fields) if fields.get("type").is_some_and(|kind| kind == "delta") => {
                fields.get("text").and_then(Value::as_str)
            }
            Self::Frame(_) | Self::Plain(_) => None,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(fields) => write!(f, "{}", Value::Object(fields.clone())),
            Self::Plain(parts) => parts.iter().try_for_each(|part| match part {
                Part::Literal(text) => f.write_str(text),
                Part::Name(name) => write!(f, "${name}"),
                Part::Anything => f.write_str("$_"),
            }),
        }
    }
}

fn fields_fit(want: &Map<String, Value>, got: &Map<String, Value>, bindings: &mut Bindings) -> bool {
    want.iter().all(|(key, want)| got.get(key).is_some_and(|got| value_fits(want, got, bindings)))
}

fn value_fits(want: &Value, got: &Value, bindings: &mut Bindings) -> bool {
    if let Some(name) = want.as_str().and_then(whole_name) {
        return bindings.unify(name, got);
    }
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => fields_fit(want, got, bindings),
        (Value::Array(want), Value::Array(got)) => {
            want.len() == got.len() && want.iter().zip(got).all(|(want, got)| value_fits(want, got, bindings))
        }
        _ => want == got,
    }
}

/// Returns the name if `text` is exactly `$name`.
pub(super) fn whole_name(text: &str) -> Option<&str> {
    let (name, rest) = split_name(text.strip_prefix('$')?);
    (!name.is_empty() && rest.is_empty()).then_some(name)
}

fn parts(line: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('$') {
        literal.push_str(before);
        let (name, after) = split_name(after);
        rest = after;
        if name.is_empty() {
            literal.push('$');
            continue;
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
        }
        parts.push(if name == "_" { Part::Anything } else { Part::Name(name.to_owned()) });
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    parts
}

/// Backtracking match, shortest first; lines and patterns are short enough.
fn parts_fit(parts: &[Part], line: &str, bindings: &mut Bindings) -> bool {
    let Some((part, later)) = parts.split_first() else { return line.is_empty() };
    match part {
        Part::Literal(text) => line.strip_prefix(text.as_str()).is_some_and(|rest| parts_fit(later, rest, bindings)),
        Part::Anything => ends(line).any(|end| {
            let (_, rest) = line.split_at(end);
            parts_fit(later, rest, bindings)
        }),
        Part::Name(name) => ends(line).skip(1).any(|end| {
            let (run, rest) = line.split_at(end);
            let mut tried = bindings.clone();
            let fits = !run.contains(char::is_whitespace)
                && tried.unify(name, &Value::from(run))
                && parts_fit(later, rest, &mut tried);
            if fits {
                *bindings = tried;
            }
            fits
        }),
    }
}

/// Returns the possible ends of a prefix of `line`.
fn ends(line: &str) -> impl Iterator<Item = usize> {
    line.char_indices().map(|(index, _)| index).chain([line.len()])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Matches `want` against `got` with `$token` bound to `t1` and `$seq` to 7.
    fn check(want: &str, got: &str, fits: bool) -> Bindings {
        let mut bindings = Bindings::default();
        bindings.unify("token", &json!("t1"));
        bindings.unify("seq", &json!(7));
        let before = bindings.clone();
        assert_eq!(Pattern::parse(want).matches(got, &mut bindings), fits, "want {want}\n got {got}");
        assert!(fits || bindings == before, "a failed match bound names: {want}");
        bindings
    }

    #[test]
    fn frames() {
        let cases = [
            (r#"{"type":"pong"}"#, r#"{"type":"pong","id":"x"}"#, true),
            (r#"{"type":"pong","id":"x"}"#, r#"{"type":"pong"}"#, false),
            (r#"{"a":{"b":1}}"#, r#"{"a":{"b":1,"c":2}}"#, true),
            (r#"{"a":{"b":1}}"#, r#"{"a":{"c":2}}"#, false),
            (r#"{"a":[1,2]}"#, r#"{"a":[1,2]}"#, true),
            (r#"{"a":[1,2]}"#, r#"{"a":[1,2,3]}"#, false),
            (r#"{"a":[{"b":1}]}"#, r#"{"a":[{"b":1,"c":2}]}"#, true),
            (r#"{"a":1}"#, r#"{"a":"1"}"#, false),
            (r#"{"a":null}"#, r#"{}"#, false),
            (r#"{"a":"$_"}"#, r#"{"a":{"b":[]}}"#, true),
            (r#"{"a":"$_"}"#, r#"{}"#, false),
            (r#"{"a":"$seq"}"#, r#"{"a":7}"#, true),
            (r#"{"a":"$seq"}"#, r#"{"a":8}"#, false),
            (r#"{"a":"$new","b":"$new"}"#, r#"{"a":1,"b":1}"#, true),
            (r#"{"a":"$new","b":"$new"}"#, r#"{"a":1,"b":2}"#, false),
            (r#"{"a":"$5"}"#, r#"{"a":"$5"}"#, true),
            (r#"{"a":"x $token"}"#, r#"{"a":"x t1"}"#, false),
            (r#"{"a":1}"#, "a 1", false),
            (r#"{"a":1}"#, "[1]", false),
            ("{}", "{}", true),
        ];
        for (want, got, fits) in cases {
            check(want, got, fits);
        }
        let bound = check(r#"{"a":"$new"}"#, r#"{"a":{"b":1}}"#, true);
        assert_eq!(bound.get("new"), Some(&json!({"b": 1})));
    }

    #[test]
    fn plain_lines() {
        let cases = [
            ("hola", "hola", true),
            ("hola", "hola ", false),
            ("hola", "hol", false),
            ("", "", true),
            ("", "x", false),
            ("$guest conectado.", "Usuario-2 conectado.", true),
            ("$guest conectado.", " conectado.", false),
            ("$guest conectado.", "Usuario 2 conectado.", false),
            ("escribí: /reanudar $token", "escribí: /reanudar t1", true),
            ("escribí: /reanudar $token", "escribí: /reanudar t2", false),
            ("Esperá $_ s y seguí.", "Esperá 8 s y seguí.", true),
            ("$_", "", true),
            ("$_", "¿Qué pasó? 🫂", true),
            ("$_ Estoy.", "Llamá. Estoy. Estoy.", true),
            ("$_ Estoy.", "Estoy.", false),
            ("$x $x", "a a", true),
            ("$x $x", "a b", false),
            ("$x$_$x", "abcab", true),
            ("cuesta $5", "cuesta $5", true),
            ("[1, 2]", "[1, 2]", true),
        ];
        for (want, got, fits) in cases {
            check(want, got, fits);
        }
        assert_eq!(check("hola, $who!", "hola, ñandú!", true).get("who"), Some(&json!("ñandú")));
    }

    #[test]
    fn display_round_trips() {
        for text in ["Esperá $_ s, $who: $5", r#"{"a":"$b"}"#] {
            assert_eq!(Pattern::parse(text).to_string(), text);
        }
    }
}
