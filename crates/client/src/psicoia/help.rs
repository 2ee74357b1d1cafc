//! Help lines in a terminal, one on a line: those that the server sends, and those of the program's own data, which need no
//! connection.

use client::{Country, SafetyPlan};
use jiff::tz::TimeZone;
use protocol::server_frame::Resource;
use protocol::{Language, Timestamp};
use safety::resources::{self, Need};

use crate::printable::printable;

/// Where the person is, as far as is known.
#[derive(Debug)]
pub(crate) struct Place {
    /// Chosen by the person.
    country: Option<Country>,
    /// Of this machine: a guess at the country.
    zone: Option<String>,
}

impl Place {
    pub(crate) fn new(country: Option<Country>) -> Self {
        Self { country, zone: zone() }
    }

    pub(crate) fn choose(&mut self, country: Country) {
        self.country = Some(country);
    }

    /// Help lines for anyone, and the question where the person is, if that is not known.
    pub(crate) fn lines(&self, language: Language) -> String {
        let lines = resources::plain_lines(&self.selection(language), language);
        lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
    }

    /// The question where the person is, if that is not known.
    pub(crate) fn question(&self, language: Language) -> Option<String> {
        let selection = self.selection(language);
        resources::plain_lines(&selection, language).pop().filter(|_| selection.asks_country)
    }

    fn selection(&self, language: Language) -> resources::Selection {
        let country = self.country.map(|country| country.to_string());
        let place = resources::Location { country: country.as_deref(), time_zone: self.zone.as_deref() };
        resources::select(place, Need::default(), language, now())
    }
}

/// The country that the person names.
pub(crate) fn country(name: &str) -> Option<Country> {
    resources::parse_country(name)?.parse().ok()
}

/// The time zone of this machine, by its name.
pub(crate) fn zone() -> Option<String> {
    TimeZone::system().iana_name().map(str::to_owned)
}

/// A place to get help, on one line: the number first thing after the name, then how else, then when and where.
pub(crate) fn resource_line(resource: &Resource, language: Language) -> String {
    let Resource { name, contact, sms, whatsapp, url, area, hours, .. } = resource;
    let english = language == Language::English;
    let mut line = if contact.contains(name.as_str()) { contact.clone() } else { format!("{name}: {contact}") };
    // Where there is no number, the contact says it already.
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
    format!("  {}", printable(&line).replace('\n', " "))
}

/// A safety plan and the help lines below it, one step or line on a line.
pub(crate) fn plan_lines(plan: &SafetyPlan, place: &Place, language: Language) -> String {
    let steps = plan.lines().map(|line| printable(&line).replace('\n', " "));
    steps.chain([place.lines(language)]).collect::<Vec<_>>().join("\n")
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
    fn a_resource_is_one_line_that_can_be_read_aloud() {
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
    fn a_plan_stands_above_the_lines() {
        let step = PlanStep { heading: "Señales".to_owned(), text: UserText::new("no\u{1b}[2J\nduermo") };
        let plan =
            SafetyPlan { title: "Mi plan".to_owned(), steps: vec![step], footer: "Si crece: llamá.".to_owned() };
        let place = Place { country: country("chile"), zone: None };
        let lines = plan_lines(&plan, &place, Language::Spanish);
        assert!(lines.starts_with("Mi plan\n1. Señales: no duermo\nSi crece: llamá.\n  "), "{lines}");
        assert!(lines.ends_with(&place.lines(Language::Spanish)) && lines.contains("*4141"), "{lines}");
    }

    #[test]
    fn the_lines_need_no_server() {
        let mut place = Place { country: None, zone: Some("America/Argentina/Buenos_Aires".to_owned()) };
        let guessed = place.lines(Language::Spanish);
        assert!(guessed.contains("0800-999-0091") && guessed.contains("¿Estás en Argentina?"), "{guessed}");
        place.choose(country("chile").unwrap());
        let chosen = place.lines(Language::Spanish);
        assert!(chosen.contains("*4141") && !chosen.contains('?'), "{chosen}");
        assert_eq!((place.question(Language::English), country("Atlantis")), (None, None));
        let nowhere = Place { country: None, zone: None }.lines(Language::English);
        assert!(nowhere.contains("findahelpline.com") && nowhere.contains("/country"), "{nowhere}");
    }
}
