//! Style sheets without comments and indentation.

use crate::BundleError;

/// Characters after which white space means nothing.
const OPEN: [char; 4] = ['{', '}', ';', ','];

/// Removes comments, and white space at both ends of each line; strings stay.
pub(crate) fn stripped(path: &str, css: &str) -> Result<String, BundleError> {
    let mut out = String::with_capacity(css.len());
    for line in without_comments(path, css)?.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !out.is_empty() && !out.ends_with(OPEN) && !line.starts_with('}') {
            out.push('\n');
        }
        out.push_str(line);
    }
    if out.contains("@import") || out.contains("url(") || out.contains("</") {
        return Err(BundleError::unknown(path, "@import, url() and </ are not bundled"));
    }
    Ok(out)
}

fn without_comments(path: &str, css: &str) -> Result<String, BundleError> {
    let mut out = String::with_capacity(css.len());
    let mut rest = css;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(comment) = from.strip_prefix("/*") {
            let Some((_, after)) = comment.split_once("*/") else {
                return Err(BundleError::unknown(path, "a comment without an end"));
            };
            rest = after;
        } else if from.starts_with('/') {
            let (slash, after) = from.split_at(1);
            out.push_str(slash);
            rest = after;
        } else {
            let (string, after) = string(from).ok_or_else(|| BundleError::unknown(path, "a string without an end"))?;
            out.push_str(string);
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Splits off the string at the start of `text`, quotes included.
fn string(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next()?;
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, letter)| {
        let ends = !escaped && letter == quote;
        escaped = !escaped && letter == '\\';
        ends
    })?;
    Some(text.split_at(end.0 + quote.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_means_nothing_goes() {
        let css = "/* a\n b */\n.x,\n.y > a {\n  margin: 0\n    auto; /* c */\n  content: \"/* \\\" */ '\";\n}\n\n@media (a) {\n  .z { top: calc(1px / 2); }\n}\n";
        let want = ".x,.y > a {margin: 0\nauto;content: \"/* \\\" */ '\";}@media (a) {.z { top: calc(1px / 2); }}";
        assert_eq!(stripped("a.css", css).unwrap(), want);
        for wrong in [
            "/* open",
            "a { content: \"x; }",
            "@import \"b.css\";",
            "a { background: url(b.png); }",
            "a { content: '</style>'; }",
        ] {
            assert!(stripped("a.css", wrong).is_err(), "{wrong}");
        }
    }
}
