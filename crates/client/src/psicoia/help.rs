//! Help lines for a terminal, one per line: those of the server, and built-in ones that need no connection.

use client::{Country, SafetyPlan};
use jiff::tz::TimeZone;
use protocol::server_frame::Resource;
use protocol::{Language, Timestamp};
use safety::resources::{self, Need};

use crate::sanitize::sanitize;

/// The person's location, as far as known.
#[derive(Debug)]
pub(crate) struct Location {
    /// Chosen by the person.
    country: Option<Country>,
    /// Time zone of this machine, a guess at the country.
    zone: Option<String>,
}

impl Location {
    pub(crate) fn new(country: Option<Country>) -> Self {
        Self { country, zone: zone() }
    }

    pub(crate) fn choose(&mut self, country: Country) {
        self.country = Some(country);
    }

    /// General help lines, followed by the question for the country if it is unknown.
    pub(crate) fn lines(&self, language: Language) -> String {
        let lines = resources::plain_lines(&self.selection(language), language);
        lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    }

    /// The question for the country, if it is unknown.
    pub(crate) fn question(&self, language: Language) -> Option<String> {
        let selection = self.selection(language);
        resources::plain_lines(&selection, language).pop().filter(|_| selection.asks_country)
    }

    fn selection(&self, language: Language) -> resources::Selection {
        let country = self.country.map(|country| country.to_string());
        let location = resources::Location { country: country.as_deref(), time_zone: self.zone.as_deref() };
        resources::select(location, Need::default(), language, now())
    }
}

/// Parses a country's name or code.
pub(crate) fn country(name: &str) -> Option<Country> {
    resources::parse_country(name)?.parse().ok()
}

/// IANA name of this machine's time zone.
pub(crate) fn zone() -> Option<String> {
    TimeZone::system().iana_name().map(str::to_owned)
}

/// Formats a resource on one line: name, number, other channels, then hours and area.
pub(crate) fn resource_line(resource: &Resource, language: Language) -> String {
    let Resource { name, contact, sms, whatsapp, url, area, hours, .. } = resource;
    let english = language == Language::English;
    let mut line = if contact.contains(name.as_str()) { contact.clone() } else { format!("{name}: {contact}") };
    // Without a number to dial, the contact text already names the SMS number.
    if let Some(sms) = sms.as_ref().filter(|sms| !contact.contains(&sms.to) || resource.dial.is_some()) {
        let word = sms.body.as_ref().map(|body| format!("{body} ")).unwrap_or_default();
        let to = &sms.to;
        line.push_str(&if english { format!(", or text {word}to {to}") } else { format!(", o mensaje {word}al {to}") });
    }
    if let Some(number) = whatsapp {
        line.push_str(&format!(", WhatsApp {number}"));
    }
    let when = Some(hours).filter(|hours| !hours.is_empty() && resource.kind != "emergency");
    let about: Vec<&str> = when.into_iter().chain(area).map(String::as_str).collect();
    if !about.is_empty() {
        line.push_str(&format!(" ({})", about.join(", ")));
    }
    if let Some(url) = url.as_ref().filter(|url| !url.ends_with(contact.as_str())) {
        line.push_str(&format!(" {url}"));
    }
    format!("  {}", sanitize(&line).replace('\n', " "))
}

/// Formats a safety plan followed by the help lines, one per line.
pub(crate) fn plan_lines(plan: &SafetyPlan, location: &Location, language: Language) -> String {
    let steps = plan.lines().map(|line| sanitize(&line).replace('\n', " "));
    steps.chain([location.lines(language)]).collect::<Vec<_>>().join("\n")
}

fn now() -> Timestamp {
    Timestamp::from_unix_ms(jiff::Timestamp::now().as_millisecond())
}

#[cfg(test)]
mod tests {
    use protocol::UserText;
    use protocol::server_frame::{PlanStep, Sms};

    use super::*;

    #[test]
    fn resource_fits_one_line() {
        let resource = |name: &str, contact: &str| Resource {
            name: name.to_owned(),
            contact: contact.to_owned(),
            kind: "suicide".to_owned(),
            hours: "24 h".to_owned(),
            ..Resource::default()
        };
        let sms = |to: &str, body: Option<&str>| Some(Sms { to: to.to_owned(), body: body.map(str::to_owned) });
        for (resource, want) in [
            (resource("Línea", "135"), "  Línea: 135 (24 h)"),
            (Resource { kind: "emergency".to_owned(), ..resource("Emergencias", "911") }, "  Emergencias: 911"),
            (
                Resource { dial: Some("988".to_owned()), sms: sms("988", Some("AYUDA")), ..resource("Crisis", "988") },
                "  Crisis: 988, o mensaje AYUDA al 988 (24 h)",
            ),
            (
                Resource { sms: sms("85258", Some("SHOUT")), ..resource("Shout", "mensaje SHOUT al 85258") },
                "  Shout: mensaje SHOUT al 85258 (24 h)",
            ),
            (
                Resource {
                    whatsapp: Some("+57300".to_owned()),
                    area: Some("Bogotá".to_owned()),
                    ..resource("106", "106")
                },
                "  106, WhatsApp +57300 (24 h, Bogotá)",
            ),
            (
                Resource {
                    url: Some("https://x.example".to_owned()),
                    hours: String::new(),
                    ..resource("X", "x.example")
                },
                "  X: x.example",
            ),
            (resource("a\u{1b}[2Jb", "1\n2"), "  ab: 1 2 (24 h)"),
        ] {
            assert_eq!(resource_line(&resource, Language::Spanish), want);
        }
    }

    #[test]
    fn plan_precedes_help_lines() {
        let step = PlanStep { heading: "Señales".to_owned(), text: UserText::new("no\u{1b}[2J\nduermo") };
        let plan =
            SafetyPlan { title: "Mi plan".to_owned(), steps: vec![step], footer: "Si crece: llamá.".to_owned() };
        let location = Location { country: country("chile"), zone: None };
        let lines = plan_lines(&plan, &location, Language::Spanish);
        assert!(lines.starts_with("Mi plan\n1. Señales: no duermo\nSi crece: llamá.\n  "), "{lines}");
        assert!(lines.ends_with(&location.lines(Language::Spanish)) && lines.contains("*4141"), "{lines}");
    }

    #[test]
    fn help_lines_come_from_built_in_data() {
        let mut location = Location { country: None, zone: Some("America/Argentina/Buenos_Aires".to_owned()) };
        let guessed = location.lines(Language::Spanish);
        assert!(guessed.contains("0800-999-0091") && guessed.contains("¿Estás en Argentina?"), "{guessed}");
        location.choose(country("chile").unwrap());
        let chosen = location.lines(Language::Spanish);
        assert!(chosen.contains("*4141") && !chosen.contains('?'), "{chosen}");
        assert_eq!((location.question(Language::English), country("Atlantis")), (None, None));
        let nowhere = Location { country: None, zone: None }.lines(Language::English);
        assert!(nowhere.contains("findahelpline.com") && nowhere.contains("/country"), "{nowhere}");
    }
}
