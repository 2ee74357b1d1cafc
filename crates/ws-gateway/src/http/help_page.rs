//! Help lines without a script: `/ayuda` and `/help`, in Spanish and English.

use std::fmt::Write as _;

use hyper::Uri;
use hyper::header::{HeaderMap, SET_COOKIE};
use page_bundle::escaped;
use protocol::Language;
use safety::resources::{self, CountryHelp, Resource};

use super::document::{Document, Link};
use super::negotiation::{LANGUAGE_COOKIE, chosen_language, cookie, language, query, remembered};
use super::response::HttpResponse;
use super::web::word;

/// Cookie with the country that the person chose; the page's script writes it too (`web/js/cookies.js`).
const COUNTRY_COOKIE: &str = "psicoia_country";
/// Kinds of lines in the order in which they are shown, each with the name of its heading.
const SECTIONS: [(&str, &str); 6] = [
    ("emergency", "section_emergency"),
    ("suicide", "section_suicide"),
    ("violence", "section_violence"),
    ("youth", "section_youth"),
    ("eating", "section_eating"),
    ("helper", "section_helper"),
];

/// Returns the page at `uri`, if it is this one. The country is that of `?country=`, which a cookie remembers; it is
/// never guessed.
pub(super) fn serve(uri: &Uri, headers: &HeaderMap) -> Option<HttpResponse> {
    let of_path = match uri.path() {
        "/ayuda" => Language::Spanish,
        "/help" => Language::English,
        _ => return None,
    };
    let language = language(uri, headers).unwrap_or(of_path);
    let asked = query(uri, "country").and_then(|code| resources::help_of(code, language));
    let help = asked.clone().or_else(|| resources::help_of(cookie(headers, COUNTRY_COOKIE)?, language));
    let mut answer = document(help.as_ref(), language).answer();
    let choices = [
        asked.map(|help| (COUNTRY_COOKIE, help.code)),
        chosen_language(uri).map(|language| (LANGUAGE_COOKIE, language.code())),
    ];
    for (name, value) in choices.into_iter().flatten() {
        answer.headers_mut().append(SET_COOKIE, remembered(name, value));
    }
    Some(answer)
}

fn document(help: Option<&CountryHelp>, language: Language) -> Document {
    let word = |name| escaped(word(language, name));
    let mut main = format!("<p class=\"lead\">{}</p>\n{}", word("help_text"), form(help, language));
    match help {
        Some(help) => main += &country(help, language),
        None => {
            let directory = "https://findahelpline.com";
            let _infallible = writeln!(
                main,
                "<section><h2>{}</h2><p>{}</p><p><a class=\"way\" href=\"{directory}\" rel=\"noreferrer\">findahelpline.com</a></p></section>",
                word("help_international"),
                word("local_emergency"),
            );
        }
    }
    let _infallible = writeln!(main, "<p class=\"aside\">{} {}</p>", word("page_reviewed"), resources::reviewed_on());
    let about = Link::new("acerca", super::web::word(language, "guide_about"));
    Document { language, title: super::web::word(language, "help_title"), links: vec![about], main }
}

/// The choice of the country. The page that answers it remembers it.
fn form(help: Option<&CountryHelp>, language: Language) -> String {
    let mut countries: Vec<_> = resources::countries(language).collect();
    countries.sort_by_key(|country| without_accents(country.name));
    let mut options = String::new();
    for country in countries {
        let selected = if help.is_some_and(|help| help.code == country.code) { " selected" } else { "" };
        let _infallible = write!(options, "<option value={}{selected}>{}", country.code, escaped(country.name));
    }
    let (label, pick, show) = (word(language, "country"), word(language, "where_choose"), word(language, "page_show"));
    let code = language.code();
    format!(
        "<form><input type=\"hidden\" name=\"lang\" value=\"{code}\"><label for=\"country\">{label}</label> \
         <select id=\"country\" name=\"country\"><option value=\"\">{pick}{options}</select> \
         <button type=\"submit\">{show}</button></form>\n"
    )
}

/// Sorts `Ártico` beside `Arte`.
fn without_accents(name: &str) -> String {
    let plain = |letter| match letter {
        'Á' | 'á' | 'Å' | 'å' | 'ã' => 'a',
        'É' | 'é' => 'e',
        'Í' | 'í' => 'i',
        'Ó' | 'ó' | 'ô' => 'o',
        'Ú' | 'ú' | 'ü' => 'u',
        'ñ' => 'n',
        'ç' | 'Ç' => 'c',
        letter => letter,
    };
    name.chars().map(plain).collect::<String>().to_lowercase()
}

fn country(help: &CountryHelp, language: Language) -> String {
    let (lines, directory): (Vec<&Resource>, Vec<&Resource>) =
        help.resources.iter().partition(|line| !is_directory(line));
    let sections = SECTIONS.iter().map(|(kind, heading)| (*heading, of_kind(&lines, kind)));
    let mut html = format!("<h2 class=\"country\">{}</h2>\n", escaped(help.name));
    for (heading, lines) in sections.chain([("section_directory", directory)]).filter(|(_, lines)| !lines.is_empty()) {
        let items: String = lines.iter().map(|it| line(it, language)).collect();
        let _infallible =
            writeln!(html, "<section><h3>{}</h3><ul>{items}</ul></section>", escaped(word(language, heading)));
    }
    html
}

fn of_kind<'a>(lines: &[&'a Resource], kind: &str) -> Vec<&'a Resource> {
    lines.iter().copied().filter(|line| line.kind == kind).collect()
}

fn is_directory(line: &Resource) -> bool {
    line.dial.is_none() && line.url.as_ref().is_some_and(|url| url.starts_with("https://findahelpline.com"))
}

fn line(line: &Resource, language: Language) -> String {
    let word = |name| word(language, name);
    let always = line.kind == "emergency" || is_directory(line);
    let said = |applies: bool, name| if applies { word(name) } else { "" };
    let hours = if always { "" } else { line.hours.as_str() };
    let area = line.area.as_deref().unwrap_or_default();
    let notes = [hours, said(line.free && !always, "free"), area, said(line.unverified, "unverified")];
    let notes: Vec<String> = notes.into_iter().filter(|note| !note.is_empty()).map(escaped).collect();
    let mut html = format!("<li><strong>{}</strong>", escaped(&line.name));
    if !notes.is_empty() {
        let _infallible = write!(html, " <span>{}</span>", notes.join(" · "));
    }
    let _infallible = write!(html, "<p>{}</p>", ways(line, language));
    if let (Some(source), Some(date)) = (&line.source, &line.verified_at) {
        let source = word("source_dated").replace("{0}", source).replace("{1}", date);
        let _infallible = write!(html, "<small>{}</small>", escaped(&source));
    }
    html + "</li>\n"
}

/// The ways to reach a line: a number to call, a message to send, a chat, a page.
fn ways(line: &Resource, language: Language) -> String {
    let mut ways = Vec::new();
    match &line.dial {
        Some(dial) => ways.push(way(&format!("tel:{}", digits(dial)), &line.contact)),
        None if line.sms.is_none() && line.url.is_none() => ways.push(escaped(&line.contact)),
        // A number that no link can dial, such as *4141.
        None if line.contact.starts_with(['*', '#']) => ways.push(format!("<b>{}</b>", escaped(&line.contact))),
        None => {}
    }
    if let Some(sms) = &line.sms {
        let (address, words) = match &sms.body {
            Some(body) => (
                format!("sms:{}?body={}", digits(&sms.to), percent_encoded(body)),
                word(language, "sms_word").replace("{0}", body).replace("{1}", &sms.to),
            ),
            None => (format!("sms:{}", digits(&sms.to)), word(language, "sms").replace("{0}", &sms.to)),
        };
        ways.push(way(&address, &words));
    }
    if let Some(number) = &line.whatsapp {
        ways.push(way(
            &format!("https://wa.me/{}", digits(number).trim_start_matches('+')),
            &format!("WhatsApp {number}"),
        ));
    }
    if let Some(url) = &line.url {
        let host = url.split('/').nth(2).unwrap_or(url);
        ways.push(way(url, host.strip_prefix("www.").unwrap_or(host)));
    }
    ways.join(" ")
}

fn way(address: &str, words: &str) -> String {
    format!("<a class=\"way\" href=\"{}\" rel=\"noreferrer\">{}</a>", escaped(address), escaped(words))
}

fn digits(number: &str) -> String {
    number.chars().filter(|letter| letter.is_ascii_digit() || *letter == '+').collect()
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANGUAGES: [Language; 2] = [Language::Spanish, Language::English];
    const MAX_BYTES: usize = 20 * 1_024;

    #[test]
    fn page_of_every_country_is_small_and_has_a_number_or_a_way() {
        for language in LANGUAGES {
            for country in resources::countries(language) {
                let help = resources::help_of(country.code, language);
                let html = document(help.as_ref(), language).html();
                assert!(html.len() < MAX_BYTES, "{}: {} bytes", country.code, html.len());
                assert!(html.contains("findahelpline.com/countries/"), "{}", country.code);
                assert!(html.contains("href=\"tel:") || html.contains("112"), "{}", country.code);
                assert!(!html.contains("<script") && !html.contains("style="), "{}", country.code);
            }
            assert!(document(None, language).html().len() < MAX_BYTES);
        }
    }

    #[test]
    fn every_word_is_found() {
        for language in LANGUAGES {
            let html = document(resources::help_of("AR", language).as_ref(), language).html();
            for name in ["page_", "section_", "help_", "where_", "{0}", "source_", "sms_"] {
                assert!(!html.contains(name), "{name} in {html}");
            }
        }
    }

    #[test]
    fn lines_can_be_pressed() {
        let html = document(resources::help_of("AR", Language::Spanish).as_ref(), Language::Spanish).html();
        for want in ["href=\"tel:135\"", "<option value=AR selected>Argentina", "Emergencias"] {
            assert!(html.contains(want), "{want} in {html}");
        }
        let html = document(resources::help_of("US", Language::English).as_ref(), Language::English).html();
        assert!(html.contains("href=\"sms:741741?body="), "{html}");
        assert_eq!(percent_encoded("SÍ 1"), "S%C3%8D%201");
    }
}
