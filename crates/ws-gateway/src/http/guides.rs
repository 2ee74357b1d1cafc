//! Static pages about the service: `/acerca` and `/proteccion`, in Spanish and English.

use hyper::Uri;
use hyper::header::HeaderMap;
use page_bundle::escaped;
use protocol::Language;
use safety::guide::{self, Facts, Guide, Item, Line, Section, Topic};

use super::document::{Document, Link};
use super::negotiation::language;
use super::response::HttpResponse;

/// Returns the page at `uri`, if there is one. Without a choice and without `Accept-Language` its language is that of
/// the path.
pub(super) fn serve(uri: &Uri, headers: &HeaderMap, facts: &Facts) -> Option<HttpResponse> {
    let (topic, of_path) = match uri.path() {
        "/acerca" => (Topic::About, Language::Spanish),
        "/about" => (Topic::About, Language::English),
        "/proteccion" | "/protecci%C3%B3n" => (Topic::Protection, Language::Spanish),
        "/protection" => (Topic::Protection, Language::English),
        _ => return None,
    };
    let language = language(uri, headers).unwrap_or(of_path);
    Some(document(topic, facts, language).answer())
}

fn document(topic: Topic, facts: &Facts, language: Language) -> Document {
    let Guide { title, lead, sections } = guide::guide(topic, facts, language);
    let english = language == Language::English;
    let beside = match (topic, english) {
        (Topic::About, false) => Link::new("proteccion", "Qué hacemos si estás en riesgo"),
        (Topic::About, true) => Link::new("protection", "What we do if you are at risk"),
        (Topic::Protection, false) => Link::new("acerca", "Qué es PsicoIA"),
        (Topic::Protection, true) => Link::new("about", "What PsicoIA is"),
    };
    let contact = facts.contact.as_deref();
    let sections: String = sections.iter().map(|it| section(it, contact, english)).collect();
    let lead = escaped(lead);
    Document { language, title, links: vec![beside], main: format!("<p class=\"lead\">{lead}</p>\n{sections}") }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_settings_in_pages() {
        let facts = Facts {
            operator: Some("<script>alert(1)</script> & \"Co\"".to_owned()),
            contact: Some("https://casa.example/?a=1&b=2".to_owned()),
            ..Facts::default()
        };
        let body = |facts: &Facts| document(Topic::About, facts, Language::Spanish).main;
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
