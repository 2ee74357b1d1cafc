//! JSON checks of the contract that `serde_json` leaves out in fields that it skips.

use std::str::Bytes;

/// Returns `true` if the first value on `line` is an object.
pub(crate) fn starts_with_object(line: &str) -> bool {
    line.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{')
}

/// Returns the nesting depth of `line`, which is JSON to `serde_json`, skipped fields included; `None` if a string in
/// it has a lone surrogate.
pub(crate) fn depth(line: &str) -> Option<usize> {
    let mut bytes = line.bytes();
    let (mut level, mut depth, mut in_string) = (0_usize, 0, false);
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => skip_escape(&mut bytes)?,
            b'{' | b'[' if !in_string => {
                level += 1;
                depth = depth.max(level);
            }
            b'}' | b']' if !in_string => level = level.saturating_sub(1),
            _ => {}
        }
    }
    Some(depth)
}

/// Consumes the escape behind a backslash, and all of a surrogate pair; `None` for a lone surrogate.
fn skip_escape(bytes: &mut Bytes<'_>) -> Option<()> {
    if bytes.next()? != b'u' {
        return Some(());
    }
    match code_unit(bytes) {
        0xD800..=0xDBFF => {
            let escape = bytes.next()? == b'\\' && bytes.next()? == b'u';
            (escape && (0xDC00..=0xDFFF).contains(&code_unit(bytes))).then_some(())
        }
        0xDC00..=0xDFFF => None,
        _ => Some(()),
    }
}

/// Reads the value of four hexadecimal digits.
fn code_unit(bytes: &mut Bytes<'_>) -> u32 {
    bytes.take(4).fold(0, |unit, digit| unit << 4 | char::from(digit).to_digit(16).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_nesting_outside_strings() {
        let nested = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
        for (line, want) in [
            ("7".to_owned(), 0),
            (nested(200), 200),
            (format!("[{}]", ["{\"x\":[]}"; 200].join(",")), 3),
            (format!("[\"{}\\\"{}\"]", nested(9), nested(9)), 1),
        ] {
            assert_eq!(depth(&line), Some(want), "{line}");
        }
    }

    #[test]
    fn rejects_lone_surrogates() {
        for (line, want) in [
            (r#""\ud83d\ude00""#, true),
            (r#""\\ud83d""#, true),
            (r#""\u00e9\n""#, true),
            (r#""\ud83d""#, false),
            (r#""\ud83d\n""#, false),
            (r#""\ud83d\ud83d""#, false),
            (r#""\ude00\ud83d""#, false),
            (r#"{"\ud83d":1}"#, false),
        ] {
            assert_eq!(depth(line).is_some(), want, "{line}");
        }
    }

    #[test]
    fn recognises_objects_by_first_brace() {
        for (line, want) in [("{}", true), (" \t{}", true), ("[{}]", false), ("\u{a0}{}", false), ("", false)] {
            assert_eq!(starts_with_object(line), want, "{line:?}");
        }
    }
}
