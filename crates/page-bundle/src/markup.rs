//! The page in one language, with its style and its early script in it.

use crate::{BundleError, EARLY, ENTRY, Words};

const PATH: &str = "index.html";

/// Inlined and linked files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) early: &'a str,
    pub(crate) style: &'a str,
    pub(crate) script_name: &'a str,
    /// All words of the page's language, as JSON.
    pub(crate) words: &'a str,
    /// The file of each language's words, by its code.
    pub(crate) files: &'a [(&'a str, &'a str)],
}

/// Returns `text` as HTML text or as a quoted attribute value.
pub fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            letter => html.push(letter),
        }
    }
    html
}

/// Returns the style sheets that the page names, in their order.
pub(crate) fn style_sheets(html: &str) -> Vec<String> {
    html.split('<')
        .filter(|tag| is_style_sheet(tag))
        .filter_map(|tag| Some(attribute(tag, "href")?.to_owned()))
        .collect()
}

fn is_style_sheet(tag: &str) -> bool {
    tag.starts_with("link ") && attribute(tag, "rel") == Some("stylesheet")
}

/// Writes the page in the language `code`: elements that name a word get it, indentation and comments go.
pub(crate) fn page(html: &str, code: &str, words: &Words, parts: Parts<'_>) -> Result<String, BundleError> {
    let mut out = String::with_capacity(html.len() + parts.style.len());
    let mut styled = false;
    let mut rest = html;
    while let Some((before, from)) = rest.split_once('<') {
        push_text(&mut out, before);
        if let Some(comment) = from.strip_prefix("!--") {
            rest = comment.split_once("-->").ok_or_else(|| problem("a comment without an end"))?.1;
            continue;
        }
        let (tag, after) = from.split_once('>').ok_or_else(|| problem("a tag without an end"))?;
        rest = after;
        if is_style_sheet(tag) {
            if !std::mem::replace(&mut styled, true) {
                out.push_str(&format!("<style>{}</style>", parts.style));
            }
        } else if tag.split(' ').next() == Some("script") {
            rest = after.strip_prefix("</script>").ok_or_else(|| problem("an inline script"))?;
            out.push_str(&script(tag, parts)?);
        } else {
            out.push_str(&filled(tag, code, words)?);
        }
    }
    push_text(&mut out, rest);
    Ok(out)
}

/// Runs of white space with a line break become one line break.
fn push_text(out: &mut String, text: &str) {
    let mut lines = text.split('\n');
    out.push_str(lines.next().unwrap_or_default().trim_end_matches(|letter| letter == ' ' && text.contains('\n')));
    for line in lines.map(str::trim_start) {
        if !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(line);
    }
}

fn script(tag: &str, parts: Parts<'_>) -> Result<String, BundleError> {
    if attribute(tag, "id") == Some("words") {
        let files: String = parts.files.iter().map(|(code, file)| format!(" data-{code}=\"{file}\"")).collect();
        // No word can end the element.
        return Ok(format!("<{tag}{files}>{}</script>", parts.words.replace('<', "\\u003c")));
    }
    match attribute(tag, "src") {
        Some(EARLY) if parts.early.contains("</") => Err(problem("an early script with a closing tag")),
        Some(EARLY) => Ok(format!("<script>{}</script>", parts.early)),
        Some(ENTRY) => Ok(format!("<script src=\"{}\" defer></script>", parts.script_name)),
        _ => Err(problem("a script beside main.js and early.js")),
    }
}

/// Returns the tag with the words that it names, and its text.
fn filled(tag: &str, code: &str, words: &Words) -> Result<String, BundleError> {
    let word = |name: &str| {
        words.get(name).map(|word| escaped(word)).ok_or_else(|| problem(format!("{code} has no text named {name}")))
    };
    let said = |attribute_name: &str| attribute(tag, attribute_name).map(word).transpose();
    let text = said("data-t")?.unwrap_or_default();
    let label = said("data-label")?;
    let mut added = Vec::new();
    for name in ["aria-label", "placeholder", "title"] {
        added.extend(said(&format!("data-{name}"))?.map(|value| (name, value)));
    }
    added.extend(label.iter().flat_map(|label| [("aria-label", label.clone()), ("title", label.clone())]));
    if let Some(page) = attribute(tag, "data-guide") {
        let label = word("opens_site")?.replace("{0}", &text);
        added.extend([("href", format!("{page}?lang={code}")), ("aria-label", label.clone()), ("title", label)]);
    }
    added.extend(attribute(tag, "data-page").map(|page| ("href", format!("{page}?lang={code}"))));
    let added: String = added.iter().map(|(name, value)| format!(" {name}=\"{value}\"")).collect();
    let tag = if tag.starts_with("html ") { format!("html lang=\"{code}\"") } else { tag.to_owned() };
    Ok(format!("<{tag}{added}>{text}"))
}

/// Returns the value of an attribute, which is quoted and has a blank before its name.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = tag.split_once(&format!(" {name}=\""))?;
    value.split_once('"').map(|(value, _)| value)
}

fn problem(construct: impl Into<String>) -> BundleError {
    BundleError::unknown(PATH, construct)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: Parts<'_> = Parts {
        early: "early();",
        style: "a{}",
        script_name: "app.1.js",
        words: "{\"a\":\"</b>\"}",
        files: &[("xx", "words-xx.1.json")],
    };

    fn words() -> Words {
        let words = [("hi", "Hola & chau"), ("opens_site", "{0} (otra pestaña)"), ("more", "Más")];
        words.iter().map(|(name, word)| ((*name).to_owned(), (*word).to_owned())).collect()
    }

    #[test]
    fn words_go_where_they_are_named() {
        for (html, want) in [
            ("<html lang=\"es\">", "<html lang=\"xx\">"),
            ("<p data-t=\"hi\"></p>", "<p data-t=\"hi\">Hola &amp; chau</p>"),
            ("<b data-label=\"more\"></b>", "<b data-label=\"more\" aria-label=\"Más\" title=\"Más\"></b>"),
            ("<i data-placeholder=\"more\">", "<i data-placeholder=\"more\" placeholder=\"Más\">"),
            ("<i data-aria-label=\"more\">", "<i data-aria-label=\"more\" aria-label=\"Más\">"),
            ("<i data-title=\"more\">", "<i data-title=\"more\" title=\"Más\">"),
            ("<a data-page=\"ayuda\">", "<a data-page=\"ayuda\" href=\"ayuda?lang=xx\">"),
            (
                "<a data-guide=\"acerca\" data-t=\"more\"></a>",
                "<a data-guide=\"acerca\" data-t=\"more\" href=\"acerca?lang=xx\" aria-label=\"Más (otra pestaña)\" \
                 title=\"Más (otra pestaña)\">Más</a>",
            ),
            ("a <!-- b\n --> <p>\n    c  d\n\n  </p> e", "a  <p>\nc  d\n</p> e"),
        ] {
            assert_eq!(page(html, "xx", &words(), PARTS).unwrap(), want, "{html}");
        }
    }

    #[test]
    fn styles_and_scripts_become_parts() {
        let html = "<link rel=\"stylesheet\" href=\"a.css\">\n<link rel=\"icon\" href=\"i\">\n<link rel=\"stylesheet\" \
                    href=\"b.css\">\n<script src=\"js/early.js\"></script>\n<script type=\"module\" src=\"js/main.js\"></script>\n\
                    <script id=\"words\" type=\"application/json\"></script>\n";
        assert_eq!(style_sheets(html), ["a.css", "b.css"]);
        let want = "<style>a{}</style>\n<link rel=\"icon\" href=\"i\">\n<script>early();</script>\n\
                    <script src=\"app.1.js\" defer></script>\n<script id=\"words\" type=\"application/json\" \
                    data-xx=\"words-xx.1.json\">{\"a\":\"\\u003c/b>\"}</script>\n";
        assert_eq!(page(html, "xx", &words(), PARTS).unwrap(), want);
    }

    #[test]
    fn unknown_markup_fails() {
        for html in
            ["<p data-t=\"none\">", "<script>x</script>", "<script src=\"js/other.js\"></script>", "<!-- a", "<p"]
        {
            assert!(page(html, "xx", &words(), PARTS).is_err(), "{html}");
        }
    }
}
