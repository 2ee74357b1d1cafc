//! Selection of help lines.
//!
//! Everything comes from `data/help-lines.toml` (lines) and `data/countries.toml` (emergency numbers), read when the
//! crate is built.

mod country;
mod hours;
mod plain;
mod table;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;

use protocol::{Language, Timestamp};

pub use self::country::{CountryName, countries, country_of_zone, parse_country, zones};
pub use self::plain::{plain_line, plain_lines, sourced_line};
use self::table::{COUNTRIES, Country, LINES, Line, LineKind, NUMBERS, REVIEWED_ON, Service, Status};
use crate::{Kind, Kinds, Level, Subject};

/// The person's location, as far as known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Location<'a> {
    /// ISO 3166 alpha-2 code that the person chose or confirmed.
    pub country: Option<&'a str>,
    /// IANA time zone of the client: a guess, asked about.
    pub time_zone: Option<&'a str>,
}

/// A place to get help, with its texts in one language; fields as in proto-line §8.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "proto-line §8 says what each field means")]
pub struct Resource {
    pub name: String,
    pub contact: String,
    /// Absent for a number that cannot be dialled from a link (`*4141`): shown to copy.
    pub dial: Option<String>,
    pub sms: Option<Sms>,
    pub whatsapp: Option<String>,
    pub url: Option<String>,
    pub kind: &'static str,
    pub country: String,
    pub region: String,
    pub area: Option<String>,
    pub hours: String,
    pub languages: Vec<String>,
    pub free: bool,
    pub source: Option<String>,
    pub verified_at: Option<String>,
    /// Not confirmed by a trusted source: never shown alone.
    pub unverified: bool,
    /// `None` where the hours are not known.
    pub open: Option<bool>,
}

/// A number to send a text message to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sms {
    /// The number.
    pub to: String,
    /// The key word to send.
    pub body: Option<String>,
}

/// Need for help.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// Level now.
    pub level: Level,
    /// Kinds of risk.
    pub kinds: Kinds,
    /// The person at risk.
    pub subject: Subject,
    /// The person says that they are a minor.
    pub minor: bool,
}

impl Need {
    /// Returns `true` if minutes count: the emergency number comes first.
    fn is_emergency(self) -> bool {
        self.level == Level::Imminent || self.kinds.contains(Kind::Medical) || self.is_overdose()
    }

    fn is_overdose(self) -> bool {
        self.kinds.contains(Kind::Substance) && self.level >= Level::High
    }

    fn is_violence(self) -> bool {
        self.kinds.contains(Kind::Abuse) || self.kinds.contains(Kind::SexualViolence)
    }

    /// Kinds of lines made for this need, the most fitting first; every need is also served by a
    /// suicide line.
    fn wanted(self) -> Vec<LineKind> {
        let wanted = [
            (self.is_violence(), LineKind::Violence),
            (self.minor, LineKind::Youth),
            (self.kinds.contains(Kind::Eating), LineKind::Eating),
            (self.subject == Subject::Other, LineKind::Helper),
            (true, LineKind::Suicide),
        ];
        wanted.into_iter().filter_map(|(applies, kind)| applies.then_some(kind)).collect()
    }
}

/// The lines to show, the first to be called first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Never empty; the emergency number and the directory are always among them.
    pub resources: Vec<Resource>,
    /// Country that the person chose or confirmed.
    pub country: Option<&'static str>,
    /// Country of the time zone, if none is confirmed.
    pub guessed: Option<&'static str>,
    /// The person should be asked for their country: "¿Estás en …?" where one is guessed.
    pub asks_country: bool,
    /// The need they were selected for.
    pub need: Need,
}

/// Returns the lines for `need` in `place`, the most fitting first.
///
/// The country is the confirmed one, else a guess by the time zone; never one by language. Open lines come
/// first, those made for the kind of need before general ones, official ones before others. Lines that are
/// closed at `now` come last. The emergency number leads where minutes count and where no line is open.
///
/// ```
/// use protocol::{Language, Timestamp};
/// use safety::Level;
/// use safety::resources::{Location, Need, select};
///
/// let place = Location { country: Some("AR"), ..Location::default() };
/// let need = Need { level: Level::Imminent, ..Need::default() };
/// let now = Timestamp::from_unix_ms(1_767_225_600_000);
/// let selection = select(place, need, Language::Spanish, now);
/// // Minutes count: the emergency number leads.
/// assert_eq!(selection.resources[0].kind, "emergency");
/// assert!(!selection.asks_country);
/// ```
pub fn select(place: Location<'_>, need: Need, language: Language, now: Timestamp) -> Selection {
    let confirmed = place.country.and_then(country::by_code);
    let guessed = if confirmed.is_none() { place.time_zone.and_then(country::by_zone) } else { None };
    let country = confirmed.or(guessed);
    let mut resources = country.map_or_else(Vec::new, |country| lines(country, need, language, now));
    let open = resources.iter().take_while(|resource| resource.open == Some(true) && !resource.unverified).count();
    let emergency = country.map_or_else(|| vec![local_emergency(None, language)], |it| emergency(it, need, language));
    let directory = directory(country, language);
    if need.is_emergency() {
        resources.push(directory);
        resources.splice(0..0, emergency);
    } else if open > 0 {
        resources.splice(open..open, emergency);
        resources.push(directory);
    } else {
        // No line is open: the emergency number is the one that answers now.
        resources.splice(0..0, emergency.into_iter().chain([directory]));
    }
    Selection {
        resources,
        country: confirmed.map(|country| country.code),
        guessed: guessed.map(|country| country.code),
        asks_country: confirmed.is_none(),
        need,
    }
}

/// Returns the number that serves ambulance and police in the country with this code, else the
/// ambulance's; `None` where none is known.
pub fn emergency_number(country: &str) -> Option<&'static str> {
    let numbers = country::by_code(country)?.numbers;
    numbers.iter().find(|number| number.service != Service::Police).map(|number| number.number)
}

/// Returns `true` if the digits of `number` are those of a help line or an emergency number of the data.
pub fn is_known_number(number: &str) -> bool {
    is_known_number_in(number, None)
}

/// Returns `true` if the digits of `number` are those of a help line or an emergency number of `country`; without one,
/// of any country of the data.
pub(crate) fn is_known_number_in(number: &str, country: Option<protocol::Country>) -> bool {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let national = digits.trim_start_matches('0');
    [digits.as_str(), national].into_iter().any(|digits| {
        let from = NUMBERS.partition_point(|(known, _)| *known < digits);
        let mut countries = NUMBERS[from..].iter().take_while(|(known, _)| *known == digits).map(|(_, code)| *code);
        countries.any(|code| country.is_none_or(|country| country.as_str() == code))
    })
}

/// Help of one country, for a client that must have it at hand without a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountryHelp {
    /// ISO 3166 alpha-2 code.
    pub code: &'static str,
    /// Name in the language asked for.
    pub name: &'static str,
    /// All its lines, the emergency numbers first, the directory last.
    pub resources: Vec<Resource>,
}

/// Returns the help of every country, in the order of their codes.
pub fn all(language: Language) -> Vec<CountryHelp> {
    COUNTRIES.iter().map(|country| help(country, language)).collect()
}

/// Returns the help of the country with this code, if there is one.
pub fn help_of(country: &str, language: Language) -> Option<CountryHelp> {
    country::by_code(country).map(|country| help(country, language))
}

fn help(country: &'static Country, language: Language) -> CountryHelp {
    let mut resources = emergency(country, Need::default(), language);
    let lines = LINES.iter().filter(|line| line.country == country.code);
    resources.extend(lines.map(|line| resource(line, country, language, None)));
    resources.push(directory(Some(country), language));
    CountryHelp { code: country.code, name: country.name.get(language), resources }
}

/// Returns the day of the last review of the lines, `YYYY-MM-DD`.
pub fn reviewed_on() -> &'static str {
    REVIEWED_ON
}

fn lines(country: &'static Country, need: Need, language: Language, now: Timestamp) -> Vec<Resource> {
    let wanted = need.wanted();
    let fit = |line: &Line| wanted.iter().position(|kind| line.serves(*kind));
    let mut lines: Vec<(&Line, usize, Option<bool>)> = LINES
        .iter()
        .filter(|line| line.country == country.code)
        .filter_map(|line| Some((line, fit(line)?, line.hours.is_open(now))))
        .collect();
    lines.sort_by_key(|(line, fit, open)| rank(line, *fit, *open, language));
    lines.into_iter().map(|(line, _, open)| resource(line, country, language, open)).collect()
}

/// Returns a line's sort key: the lower, the earlier it is shown.
fn rank(line: &Line, fit: usize, open: Option<bool>, language: Language) -> impl Ord {
    let closed = match open {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    };
    (
        (closed, line.status == Status::Unverified),
        (fit, line.area.is_some(), line.status),
        (!line.hours.is_always(), Reverse(line.languages.contains(&language.code()))),
    )
}

fn resource(line: &Line, country: &Country, language: Language, open: Option<bool>) -> Resource {
    let sms = line.sms.map(|sms| Sms { to: sms.to.to_owned(), body: sms.body_in(language).map(str::to_owned) });
    let mut hours = line.hours.text(country, language);
    if open == Some(false) {
        hours.push_str(if language == Language::English { " (closed now)" } else { " (ahora cerrada)" });
    }
    Resource {
        name: line.name.get(language).to_owned(),
        contact: contact(line, language),
        dial: line.dial.filter(|dial| !dial.contains('*')).map(str::to_owned),
        sms,
        whatsapp: line.whatsapp.map(str::to_owned),
        url: line.url.map(str::to_owned),
        kind: line.kind.name(),
        country: country.code.to_owned(),
        region: country.name.get(language).to_owned(),
        area: area(line, language),
        hours,
        languages: line.languages.iter().map(|&code| code.to_owned()).collect(),
        free: line.free,
        source: Some(line.source.to_owned()),
        verified_at: Some(line.verified_at.to_owned()),
        unverified: line.status == Status::Unverified,
        open,
    }
}

fn contact(line: &Line, language: Language) -> String {
    let english = language == Language::English;
    let mut contact = line.display.unwrap_or_default().to_owned();
    if let Some(how) = line.how {
        contact.push_str(", ");
        contact.push_str(how.get(language));
    }
    if let (true, Some(sms)) = (contact.is_empty(), line.sms) {
        let body = sms.body_in(language);
        contact = match (english, body) {
            (true, Some(body)) => format!("text {body} to {}", sms.to),
            (true, None) => format!("text {}", sms.to),
            (false, Some(body)) => format!("mensaje {body} al {}", sms.to),
            (false, None) => format!("mensaje al {}", sms.to),
        };
    }
    contact
}

fn area(line: &Line, language: Language) -> Option<String> {
    let mobile = match (line.mobile_only, language) {
        (false, _) => None,
        (true, Language::English) => Some("from a mobile only"),
        (true, Language::Spanish) => Some("solo desde un celular"),
    };
    let parts: Vec<&str> = [line.area.map(|area| area.get(language)), mobile].into_iter().flatten().collect();
    if parts.is_empty() { None } else { Some(parts.join("; ")) }
}

/// Returns the emergency numbers of a country, those for the need first. Where the number is not certain, the advice to
/// call the local one comes with it, so that the list always helps.
fn emergency(country: &Country, need: Need, language: Language) -> Vec<Resource> {
    let medical = need.kinds.contains(Kind::Medical) || need.is_overdose();
    let police = need.is_violence() || need.kinds.contains(Kind::HarmToOthers);
    let order = |service: Service| match service {
        Service::Ambulance if medical => 0,
        Service::Police if police => 0,
        Service::General => 1,
        Service::Ambulance => 2,
        Service::Police => 3,
    };
    let general = country.numbers.iter().any(|number| number.service == Service::General);
    let mut numbers: Vec<_> = country.numbers.iter().collect();
    numbers.sort_by_key(|number| order(number.service));
    let shown = numbers.into_iter().filter(|number| number.service != Service::Police || police || !general);
    let mut resources: Vec<Resource> =
        shown.map(|number| emergency_resource(country, number.service, number.number, language)).collect();
    if country.status == Status::Unverified || resources.is_empty() {
        resources.push(local_emergency(Some(country), language));
    }
    resources
}

fn emergency_resource(country: &Country, service: Service, number: &str, language: Language) -> Resource {
    let name = match (service, language) {
        (Service::General, Language::Spanish) => "Emergencias",
        (Service::General, Language::English) => "Emergency",
        (Service::Ambulance, Language::Spanish) => "Emergencias médicas",
        (Service::Ambulance, Language::English) => "Ambulance",
        (Service::Police, Language::Spanish) => "Policía",
        (Service::Police, Language::English) => "Police",
    };
    Resource {
        dial: Some(number.to_owned()),
        free: true,
        source: Some(country.source.to_owned()),
        verified_at: Some(country.source_date.to_owned()),
        unverified: country.status == Status::Unverified,
        ..plain_resource(name, number, "emergency", Some(country), language)
    }
}

/// Returns `true` if `host`, without `www.`, is that of a help line's page in the data, or of the directory of lines.
pub fn is_known_host(host: &str) -> bool {
    let host_of = |url: &'static str| url.split("://").nth(1).and_then(|rest| rest.split('/').next());
    let hosts = LINES.iter().filter_map(|line| line.url).filter_map(host_of);
    hosts.chain([DIRECTORY]).any(|known| known.trim_start_matches("www.") == host)
}

/// Returns the advice to call the number that the person knows, where the data has none, or none for certain.
fn local_emergency(country: Option<&Country>, language: Language) -> Resource {
    let (name, contact) = match language {
        Language::Spanish => ("Emergencias", "el número de emergencias de tu zona (en muchos países, 112 o 911)"),
        Language::English => ("Emergency", "your local emergency number (in many countries 112 or 911)"),
    };
    plain_resource(name, contact, "emergency", country, language)
}

/// Host of the directory of help lines.
const DIRECTORY: &str = "findahelpline.com";

fn directory(country: Option<&Country>, language: Language) -> Resource {
    let path = country.map_or_else(String::new, |country| format!("/countries/{}", country.code.to_ascii_lowercase()));
    let contact = format!("{DIRECTORY}{path}");
    let mut resource = plain_resource("Find A Helpline", &contact, "suicide", country, language);
    resource.url = Some(format!("https://{contact}"));
    resource.free = true;
    resource.source = Some(DIRECTORY.to_owned());
    resource.languages = vec!["en".to_owned(), "es".to_owned()];
    resource
}

fn plain_resource(
    name: &str,
    contact: &str,
    kind: &'static str,
    country: Option<&Country>,
    language: Language,
) -> Resource {
    Resource {
        name: name.to_owned(),
        contact: contact.to_owned(),
        dial: None,
        sms: None,
        whatsapp: None,
        url: None,
        kind,
        country: country.map_or_else(String::new, |country| country.code.to_owned()),
        region: country.map_or_else(String::new, |country| country.name.get(language).to_owned()),
        area: None,
        hours: "24 h".to_owned(),
        languages: Vec::new(),
        free: false,
        source: None,
        verified_at: None,
        unverified: false,
        open: Some(true),
    }
}
