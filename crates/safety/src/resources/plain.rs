//! Lines of the plain face.

use protocol::Language;

use super::{Resource, Selection, country};
use crate::Subject;

/// Returns the one extra line of the plain face, with its `Ayuda: ` or `Help: `.
pub fn plain_line(selection: &Selection, language: Language) -> String {
    let english = language == Language::English;
    let first = selection.resources.first();
    // One of each: the first line to call and the emergency number, in the order of the selection.
    let second = selection.resources.iter().find(|resource| {
        resource.kind != first.map_or("", |first| first.kind) && (resource.kind == "emergency" || is_callable(resource))
    });
    let described: Vec<String> = first.into_iter().chain(second).map(|resource| describe(resource, language)).collect();
    let (opener, more) = match (english, selection.need.subject == Subject::Other) {
        (true, false) => ("Help: you don't have to go through this alone.", "More: /crisis"),
        (true, true) => {
            ("Help: you don't have to carry this alone; these lines also guide those who help.", "More: /crisis")
        }
        (false, false) => ("Ayuda: no tenés que pasar por esto en soledad.", "Más: /crisis"),
        (false, true) => (
            "Ayuda: no tenés que cargar con esto en soledad; estas líneas también orientan a quien ayuda.",
            "Más: /crisis",
        ),
    };
    let place = place_question(selection, language).map_or_else(String::new, |question| format!(" {question}"));
    format!("{opener} {}. {more}.{place}", described.join(". "))
}

/// Returns all lines of a selection for `/crisis`, one a line, then the question for the country.
pub fn plain_lines(selection: &Selection, language: Language) -> Vec<String> {
    let mut lines: Vec<String> = selection.resources.iter().map(|resource| describe(resource, language)).collect();
    lines.extend(place_question(selection, language));
    lines
}

/// Returns a line as [`plain_lines`] has it, with its source and the day it was checked.
pub fn sourced_line(resource: &Resource, language: Language) -> String {
    let line = describe(resource, language);
    match (&resource.source, &resource.verified_at, language) {
        (Some(source), Some(day), Language::Spanish) => format!("{line}. Fuente: {source}, {day}"),
        (Some(source), Some(day), Language::English) => format!("{line}. Source: {source}, {day}"),
        _ => line,
    }
}

fn is_callable(resource: &Resource) -> bool {
    !resource.unverified && (resource.open != Some(false))
}

/// Formats a resource: `Línea 024: 024 (24 h, gratis)`.
fn describe(resource: &Resource, language: Language) -> String {
    let english = language == Language::English;
    let mut notes = Vec::new();
    let is_page = resource.url.is_some() && resource.dial.is_none() && resource.sms.is_none();
    if resource.kind != "emergency" && !is_page {
        notes.push(resource.hours.as_str());
        if resource.free {
            notes.push(if english { "free" } else { "gratis" });
        }
    }
    notes.extend(resource.area.as_deref());
    if resource.unverified {
        notes.push(if english { "not confirmed" } else { "sin confirmar" });
    }
    let mut text = if resource.contact.contains(resource.name.as_str()) {
        resource.contact.clone()
    } else {
        format!("{}: {}", resource.name, resource.contact)
    };
    if let Some(sms) = resource.sms.as_ref().filter(|_| resource.dial.is_some()) {
        let (to, body) = (&sms.to, sms.body.as_deref());
        text.push_str(&match (english, body) {
            (true, Some(body)) => format!(", or text {body} to {to}"),
            (true, None) => format!(", or text {to}"),
            (false, Some(body)) => format!(", o mensaje {body} al {to}"),
            (false, None) => format!(", o mensaje al {to}"),
        });
    }
    if let Some(number) = &resource.whatsapp {
        text.push_str(&format!(", WhatsApp {number}"));
    }
    if !notes.is_empty() {
        text.push_str(&format!(" ({})", notes.join(", ")));
    }
    text
}

fn place_question(selection: &Selection, language: Language) -> Option<String> {
    if !selection.asks_country {
        return None;
    }
    let guessed =
        selection.guessed.and_then(country::by_code).map(|country| (country.name.get(language), country.code));
    Some(match (language, guessed) {
        (Language::Spanish, Some((name, code))) => {
            format!("¿Estás en {name}? Si es así: /pais {code}; si no, /pais y el nombre de tu país.")
        }
        (Language::Spanish, None) => {
            "¿En qué país estás? Escribí /pais y su nombre, y te muestro sus líneas.".to_owned()
        }
        (Language::English, Some((name, code))) => {
            format!("Are you in {name}? If so: /country {code}; if not, /country and the name of your country.")
        }
        (Language::English, None) => {
            "Which country are you in? Type /country and its name to see its lines.".to_owned()
        }
    })
}
