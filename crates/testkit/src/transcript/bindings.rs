//! Name bindings of a transcript.

use std::collections::HashMap;

use serde_json::Value;

/// An unbound name in a line to send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("${name} is not bound yet")]
pub struct UnboundName {
    /// Name without its `$`.
    pub name: String,
}

/// Names and their values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bindings(HashMap<String, Value>);

impl Bindings {
    /// Binds a new name, or compares a bound one; returns true on success. `_` matches anything.
    pub fn unify(&mut self, name: &str, value: &Value) -> bool {
        if name == "_" {
            return true;
        }
        self.0.entry(name.to_owned()).or_insert_with(|| value.clone()) == value
    }

    /// Returns the value of `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Substitutes every `$name` in a line to send.
    ///
    /// In JSON, `"$name"` becomes the value, of any type; elsewhere the name becomes the value's text.
    ///
    /// # Errors
    ///
    /// A name is unbound.
    pub fn fill(&self, line: &str) -> Result<String, UnboundName> {
        let json = line.starts_with('{');
        let mut out = String::with_capacity(line.len());
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let (name, after) = split_name(after);
            rest = after;
            if name.is_empty() {
                out.push('$');
                continue;
            }
            let value = self.get(name).ok_or_else(|| UnboundName { name: name.to_owned() })?;
            if json && out.ends_with('"') && rest.starts_with('"') {
                out.pop();
                rest = rest.strip_prefix('"').unwrap_or(rest);
                out.push_str(&value.to_string());
            } else {
                out.push_str(&text_of(value, json));
            }
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// Splits the text after a `$` into its leading name, possibly empty, and the rest.
pub(super) fn split_name(text: &str) -> (&str, &str) {
    let is_name = |(index, c): (usize, char)| c == '_' || c.is_ascii_lowercase() || (0 < index && c.is_ascii_digit());
    let end = text.char_indices().find(|&at| !is_name(at)).map_or(text.len(), |(index, _)| index);
    text.split_at(end)
}

/// Returns the value as text, escaped if it stands within JSON.
fn text_of(value: &Value, escaped: bool) -> String {
    let plain = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if !escaped {
        return plain;
    }
    let quoted = Value::from(plain).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bindings() -> Bindings {
        let mut bindings = Bindings::default();
        assert!(bindings.unify("token", &json!("t\"1")));
        assert!(bindings.unify("seq", &json!(7)));
        bindings
    }

    #[test]
    fn substitutes_names() {
        let cases = [
            ("hola", "hola"),
            ("/reanudar $token", "/reanudar t\"1"),
            ("$seq$seq", "77"),
            ("cuesta $5 o $", "cuesta $5 o $"),
            (r#"{"resume":"$token","since":"$seq"}"#, r#"{"resume":"t\"1","since":7}"#),
            (r#"{"text":"es $token, $seq"}"#, r#"{"text":"es t\"1, 7"}"#),
            (r#"not json "$token""#, r#"not json "t"1""#),
        ];
        for (line, want) in cases {
            assert_eq!(bindings().fill(line).as_deref(), Ok(want), "{line}");
        }
    }

    #[test]
    fn unbound_names_are_errors() {
        for (line, name) in [("x $other", "other"), (r#"{"a":"$_"}"#, "_"), ("$tokens", "tokens")] {
            assert_eq!(bindings().fill(line), Err(UnboundName { name: name.to_owned() }), "{line}");
        }
    }

    #[test]
    fn binds_and_compares() {
        let mut bindings = bindings();
        assert!(bindings.unify("seq", &json!(7)));
        assert!(!bindings.unify("seq", &json!("7")));
        assert!(bindings.unify("_", &json!(1)) && bindings.unify("_", &json!(2)));
        assert_eq!(bindings.get("_"), None);
    }
}
