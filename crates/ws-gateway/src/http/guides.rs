//! Static pages about the service: `/acerca` and `/proteccion`, in Spanish and English.

use bytes::Bytes;
use hyper::header::{ACCEPT_LANGUAGE, CONTENT_LANGUAGE, HeaderMap, HeaderValue, VARY};
use hyper::{StatusCode, Uri};
use protocol::Language;
use safety::guide::{self, Facts, Guide, Item, Line, Section, Topic};

use super::response::{HttpResponse, with_type};

/// Returns the page at `uri`, if there is one.
///
/// Its language is that of `?lang=`, else that of `Accept-Language`, else that of the path.
pub(super) fn serve(uri: &Uri, headers: &HeaderMap, facts: &Facts) -> Option<HttpResponse> {
    let (topic, of_path) = match uri.path() {
        "/acerca" => (Topic::About, Language::Spanish),
        "/about" => (Topic::About, Language::English),
        "/proteccion" | "/protecci%C3%B3n" => (Topic::Protection, Language::Spanish),
        "/protection" => (Topic::Protection, Language::English),
        _ => return None,
    };
    let language = query_language(uri).or_else(|| preferred(headers)).unwrap_or(of_path);
    let page = page(&guide::guide(topic, facts, language), topic, facts.contact.as_deref(), language);
    let mut answer = with_type(StatusCode::OK, Some("text/html; charset=utf-8"), Bytes::from(page));
    answer.headers_mut().insert(CONTENT_LANGUAGE, HeaderValue::from_static(language.code()));
    answer.headers_mut().insert(VARY, HeaderValue::from_static("accept-language"));
    Some(answer)
}

/// Returns the language of `?lang=`.
fn query_language(uri: &Uri) -> Option<Language> {
    uri.query()?.split('&').find_map(|field| known(field.strip_prefix("lang=")?))
}

/// Negotiates the language by `Accept-Language` (RFC 9110, section 12.5.4).
fn preferred(headers: &HeaderMap) -> Option<Language> {
    let values = headers.get_all(ACCEPT_LANGUAGE).into_iter().filter_map(|value| value.to_str().ok());
    let ranges = values.flat_map(|value| value.split(',')).filter_map(|range| {
        let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
        let weight = match parameters.trim().strip_prefix("q=") {
            Some(weight) => weight.trim().parse::<f32>().ok()?,
            None => 1.0,
        };
        Some((known(tag.trim())?, weight))
    });
    // Of equal weights the first counts.
    let best =
        ranges.filter(|(_, weight)| 0.0 < *weight).reduce(|one, other| if one.1 < other.1 { other } else { one });
    best.map(|(language, _)| language)
}

/// Returns the language of a tag such as `es-AR`.
fn known(tag: &str) -> Option<Language> {
    let primary = tag.split('-').next().unwrap_or_default();
    [Language::Spanish, Language::English].into_iter().find(|language| primary.eq_ignore_ascii_case(language.code()))
}

fn page(guide: &Guide, topic: Topic, contact: Option<&str>, language: Language) -> String {
    let english = language == Language::English;
    let (other, other_name) = if english { ("es", "Castellano") } else { ("en", "English") };
    let (chat, beside_path, beside) = match (topic, english) {
        (Topic::About, false) => ("Ir al chat", "proteccion", "Qué hacemos si estás en riesgo"),
        (Topic::About, true) => ("Go to the chat", "protection", "What we do if you are at risk"),
        (Topic::Protection, false) => ("Ir al chat", "acerca", "Qué es PsicoIA"),
        (Topic::Protection, true) => ("Go to the chat", "about", "What PsicoIA is"),
    };
    let sections: String = guide.sections.iter().map(|it| section(it, contact, english)).collect();
    let code = language.code();
    // Relative addresses: a proxy may serve the page below a path.
    format!(
        r#"<!doctype html>
<html lang="{code}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · PsicoIA</title>
<link rel="icon" href="favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="css/base.css">
<link rel="stylesheet" href="css/guide.css">
</head>
<body class="guide">
<nav><a href="./">{chat}</a> <a href="{beside_path}?lang={code}">{beside}</a> <a href="?lang={other}" lang="{other}" hreflang="{other}">{other_name}</a></nav>
<main>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{sections}</main>
</body>
</html>
"#,
        title = escaped(guide.title),
        lead = escaped(guide.lead),
    )
}

fn section(section: &Section, contact: Option<&str>, english: bool) -> String {
    let paragraphs: String =
        section.paragraphs.iter().map(|text| format!("<p>{}</p>\n", with_link(&escaped(text), contact))).collect();
    let items: String = section.items.iter().map(|it| item(it, english)).collect();
    format!("<section id=\"{}\">\n<h2>{}</h2>\n{paragraphs}{items}</section>\n", section.id, escaped(section.title))
}

fn item(Item { term, lines, folded }: &Item, english: bool) -> String {
    let term = escaped(term);
    if *folded {
        let lines: String = lines.iter().map(|it| format!("<li>{}</li>\n", line(it, english))).collect();
        return format!("<details>\n<summary>{term}</summary>\n<ul>\n{lines}</ul>\n</details>\n");
    }
    let lines: String = lines.iter().map(|it| format!("<p>{}</p>\n", line(it, english))).collect();
    format!("<div class=\"item\">\n<h3>{term}</h3>\n{lines}</div>\n")
}

fn line(Line { text, dial }: &Line, english: bool) -> String {
    let text = escaped(text);
    match dial {
        Some(number) => {
            let (number, call) = (escaped(number), if english { "Call" } else { "Llamar" });
            format!("{text} <a class=\"call\" href=\"tel:{number}\">{call} {number}</a>")
        }
        None => text,
    }
}

/// Makes `contact` a link in `html` if it is an address.
fn with_link(html: &str, contact: Option<&str>) -> String {
    let Some(contact) = contact else { return html.to_owned() };
    let is_page = contact.starts_with("https://") || contact.starts_with("http://");
    let is_mail = !is_page && contact.contains('@') && !contact.contains([' ', '/', ':', '?', '&', '%']);
    if !(is_page || is_mail) || contact.contains(char::is_whitespace) {
        return html.to_owned();
    }
    let (contact, scheme) = (escaped(contact), if is_mail { "mailto:" } else { "" });
    html.replace(&contact, &format!("<a href=\"{scheme}{contact}\">{contact}</a>"))
}

fn escaped(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages() {
        for (accept, want) in [
            ("es", Some(Language::Spanish)),
            ("en-GB,en;q=0.9,es;q=0.8", Some(Language::English)),
            ("fr-FR, es-AR;q=0.5, en;q=0.4", Some(Language::Spanish)),
            ("en;q=0.2, ES-mx;q=0.3", Some(Language::Spanish)),
            ("en;q=0, es;q=0.1", Some(Language::Spanish)),
            ("fr, *;q=0.5", None),
            ("en;q=x", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static(accept));
            assert_eq!(preferred(&headers), want, "{accept}");
        }
    }

    #[test]
    fn escapes_settings_in_pages() {
        let facts = Facts {
            operator: Some("<script>alert(1)</script> & \"Co\"".to_owned()),
            contact: Some("https://casa.example/?a=1&b=2".to_owned()),
            ..Facts::default()
        };
        let body = |facts: &Facts| {
            let answer = serve(&Uri::from_static("/acerca"), &HeaderMap::new(), facts).unwrap();
            let page = page(
                &guide::guide(Topic::About, facts, Language::Spanish),
                Topic::About,
                facts.contact.as_deref(),
                Language::Spanish,
            );
            assert_eq!(answer.headers()[CONTENT_LANGUAGE], "es");
            page
        };
        let page = body(&facts);
        assert!(
            !page.contains("<script") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;Co&quot;")
        );
        assert!(page.contains("<a href=\"https://casa.example/?a=1&amp;b=2\">https://casa.example/?a=1&amp;b=2</a>."));
        for (contact, want) in [
            ("hola@casa.example", "<a href=\"mailto:hola@casa.example\">hola@casa.example</a>"),
            ("javascript:alert(1)@x", "javascript:alert(1)@x"),
            ("piso 3, timbre @casa", "piso 3, timbre @casa"),
        ] {
            let page = body(&Facts { contact: Some(contact.to_owned()), ..Facts::default() });
            assert!(page.contains(want), "{contact}");
            assert!(!page.contains("href=\"javascript"));
        }
    }
}
