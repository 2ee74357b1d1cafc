//! Parser for `.env` files: the subset that docker compose reads identically.
//!
//! Not a crate, because those available expand `$NAME` in values (a key with a dollar sign is cut silently), report no
//! line numbers, and keep the first of two equal names where compose keeps the last.
//!
//! A line is empty, a comment, or `NAME=value`, optionally after `export`. A value ends with its line. `'…'` is
//! literal; `"…"` knows `\n`, `\r`, `\t`, `\\`, `\"` and `\$`; unquoted, a `#` after white space begins a comment, and
//! surrounding white space is trimmed. Nothing is expanded; `${…}` outside single quotes is rejected, because compose
//! and shells would expand it.

/// A parsed setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Line number, from 1.
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// An invalid line. Never quotes its content, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Line number, from 1.
    pub(crate) line: usize,
    pub(crate) why: &'static str,
}

const NOT_A_SETTING: &str = "not NAME=value";
const NOT_UTF8: &str = "not UTF-8: save the file in that encoding";
const CONTROL: &str = "there is a control character in the value";
const OPEN_QUOTE: &str = "the quote is not closed in this line";
const AFTER_QUOTE: &str = "there is something behind the closing quote";
const ESCAPE: &str = "an unknown escape in double quotes: single quotes take everything as it stands";
const REPLACED: &str =
    "${…} is not replaced here: write the value itself, in single quotes if it is meant as it stands";

/// Parses the file into settings and problems, both in the order of its lines.
pub(crate) fn parse(file: &[u8]) -> (Vec<Setting>, Vec<Problem>) {
    // Editors may write a byte order mark, which is not part of the first name.
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    if file.starts_with(b"\xff\xfe") || file.starts_with(b"\xfe\xff") {
        return (Vec::new(), vec![Problem { line: 1, why: NOT_UTF8 }]);
    }
    let (mut settings, mut problems) = (Vec::new(), Vec::new());
    for (line, text) in (1..).zip(file.split(|&byte| byte == b'\n')) {
        match setting(text.strip_suffix(b"\r").unwrap_or(text)) {
            Ok(Some((name, value))) => settings.push(Setting { line, name, value }),
            Ok(None) => {}
            Err(why) => problems.push(Problem { line, why }),
        }
    }
    (settings, problems)
}

fn setting(line: &[u8]) -> Result<Option<(String, String)>, &'static str> {
    let line = line.trim_ascii();
    // Comments may be in any encoding.
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    let line = std::str::from_utf8(line).map_err(|_| NOT_UTF8)?;
    let (name, text) = line.split_once('=').ok_or(NOT_A_SETTING)?;
    let name = name.trim();
    let name = name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).map_or(name, str::trim);
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(letter) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(NOT_A_SETTING);
    }
    let value = value(text)?;
    if value.chars().any(|c| c.is_control() && !['\t', '\n', '\r'].contains(&c)) {
        return Err(CONTROL);
    }
    Ok(Some((name.to_owned(), value)))
}

fn value(text: &str) -> Result<String, &'static str> {
    let trimmed = text.trim();
    if let Some(quoted) = trimmed.strip_prefix('\'') {
        let (value, rest) = quoted.split_once('\'').ok_or(OPEN_QUOTE)?;
        return nothing_but_a_comment(rest).map(|()| value.to_owned());
    }
    if let Some(quoted) = trimmed.strip_prefix('"') {
        let (value, rest) = double_quoted(quoted)?;
        return nothing_but_a_comment(rest).map(|()| value);
    }
    // Scans from the white space before the value: `NAME= # comment` is empty.
    let mut before = 'x';
    let starts_comment = |(_, letter): &(usize, char)| {
        let starts = *letter == '#' && before.is_whitespace();
        before = *letter;
        starts
    };
    let end = text.char_indices().find(starts_comment).map_or(text.len(), |(at, _)| at);
    let value = text.split_at(end).0.trim();
    // A lone carriage return would join two lines.
    if value.contains('\r') {
        return Err(CONTROL);
    }
    if value.contains("${") { Err(REPLACED) } else { Ok(value.to_owned()) }
}

/// Returns the value up to the closing quote, and the rest behind it.
fn double_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let (mut value, mut letters) = (String::new(), text.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Ok((value, letters.as_str())),
            '$' if letters.as_str().starts_with('{') => return Err(REPLACED),
            '\\' => value.push(match letters.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some(escaped @ ('\\' | '"' | '$')) => escaped,
                Some(_) => return Err(ESCAPE),
                None => return Err(OPEN_QUOTE),
            }),
            letter => value.push(letter),
        }
    }
    Err(OPEN_QUOTE)
}

fn nothing_but_a_comment(rest: &str) -> Result<(), &'static str> {
    let comment = rest.trim_start();
    let separated = comment.len() < rest.len();
    if comment.is_empty() || (separated && comment.starts_with('#')) { Ok(()) } else { Err(AFTER_QUOTE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (line, want) in [
            ("KEY=value", Ok(Some("value"))),
            (" export  KEY = two words  ", Ok(Some("two words"))),
            ("exportKEY=value", Ok(Some("value"))),
            ("KEY=", Ok(Some(""))),
            ("KEY= # nothing", Ok(Some(""))),
            ("KEY=#1", Ok(Some("#1"))),
            ("KEY=a#b #c", Ok(Some("a#b"))),
            ("KEY=gsk$abc", Ok(Some("gsk$abc"))),
            ("KEY=\"gsk$abc\"", Ok(Some("gsk$abc"))),
            ("KEY='gsk$abc${X}'", Ok(Some("gsk$abc${X}"))),
            ("KEY=$$", Ok(Some("$$"))),
            ("KEY=a${HOME}", Err(REPLACED)),
            ("KEY=\"a${HOME}\"", Err(REPLACED)),
            ("KEY=\"a\\${HOME}\"", Ok(Some("a${HOME}"))),
            ("KEY=a # ${HOME}", Ok(Some("a"))),
            ("KEY=C:\\new", Ok(Some("C:\\new"))),
            ("KEY='C:\\new'", Ok(Some("C:\\new"))),
            ("KEY=\"a\\n\\t\\\\\\\"\"", Ok(Some("a\n\t\\\""))),
            ("KEY=\"C:\\quatsch\"", Err(ESCAPE)),
            ("KEY='a b' # comment", Ok(Some("a b"))),
            ("KEY=' a # b '", Ok(Some(" a # b "))),
            ("KEY='a'#b", Err(AFTER_QUOTE)),
            ("KEY='a'b", Err(AFTER_QUOTE)),
            ("KEY='a", Err(OPEN_QUOTE)),
            ("KEY=\"a\\\"", Err(OPEN_QUOTE)),
            ("KEY=it's", Ok(Some("it's"))),
            ("KEY=a=b", Ok(Some("a=b"))),
            ("KEY=ñandú", Ok(Some("ñandú"))),
            ("KEY=a\rB=c", Err(CONTROL)),
            ("KEY=a\u{0}", Err(CONTROL)),
            ("KEY", Err(NOT_A_SETTING)),
            ("KEY: value", Err(NOT_A_SETTING)),
            ("=value", Err(NOT_A_SETTING)),
            ("1KEY=value", Err(NOT_A_SETTING)),
            ("MY KEY=value", Err(NOT_A_SETTING)),
            ("# KEY=value", Ok(None)),
            (" \t", Ok(None)),
        ] {
            let got = setting(line.as_bytes()).map(|setting| setting.map(|(_, value)| value));
            assert_eq!(got.as_ref().map(Option::as_deref), want.as_ref().map(|want| *want), "{line}");
        }
    }

    #[test]
    fn files() {
        let setting = |line, name: &str, value: &str| Setting { line, name: name.to_owned(), value: value.to_owned() };
        let two = vec![setting(1, "A", "1"), setting(3, "B", "2")];
        for text in ["A=1\n\nB=2", "A=1\r\n\r\nB=2\r\n", "\u{feff}A=1\n#\nB=2\n"] {
            assert_eq!(parse(text.as_bytes()), (two.clone(), vec![]), "{text:?}");
        }
        // Latin-1 is allowed in comments only.
        let latin1 = b"# contrase\xf1a\nA=contrase\xf1a\nB=2\nx";
        let problems = vec![Problem { line: 2, why: NOT_UTF8 }, Problem { line: 4, why: NOT_A_SETTING }];
        assert_eq!(parse(latin1), (vec![setting(3, "B", "2")], problems));
        assert_eq!(parse(b"\xff\xfeA\0=\x001\0").1, [Problem { line: 1, why: NOT_UTF8 }]);
        assert_eq!(parse(b""), (vec![], vec![]));
    }
}
