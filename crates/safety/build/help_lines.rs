//! `help-lines.toml`, `countries.toml` and `zones.tsv` as static tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use serde::Deserialize;

const LINES: &str = "data/help-lines.toml";
const COUNTRIES: &str = "data/countries.toml";
const ZONES: &str = "data/zones.tsv";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineFile {
    reviewed_on: String,
    line: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    country: String,
    kind: Kind,
    #[serde(default)]
    also: Vec<Kind>,
    name: Text,
    dial: Option<String>,
    display: Option<String>,
    how: Option<Text>,
    sms: Option<Sms>,
    whatsapp: Option<String>,
    url: Option<String>,
    hours: String,
    zone: Option<String>,
    area: Option<Text>,
    languages: Vec<String>,
    #[serde(default)]
    free: bool,
    #[serde(default)]
    mobile_only: bool,
    status: Status,
    source: String,
    source_date: String,
    verified_at: String,
    recheck: Option<String>,
    recheck_by: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sms {
    to: String,
    body: Option<String>,
    body_es: Option<String>,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Text {
    Same(String),
    Each { es: String, en: String },
}

#[derive(Deserialize, Clone, Copy, PartialEq, Debug)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Suicide,
    Youth,
    Violence,
    Eating,
    Helper,
}

#[derive(Deserialize, Clone, Copy, Debug)]
#[serde(rename_all = "lowercase")]
enum Status {
    Official,
    Press,
    Unverified,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountryFile {
    reviewed_on: String,
    country: Vec<Country>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Country {
    code: String,
    code3: String,
    es: String,
    en: String,
    #[serde(default)]
    aliases: Vec<String>,
    general: Option<String>,
    ambulance: Option<String>,
    police: Option<String>,
    status: Status,
    source: String,
    source_date: String,
    recheck: Option<String>,
}

/// Writes `help_lines.rs` to the output folder.
pub(crate) fn build() -> Result<(), String> {
    for file in [LINES, COUNTRIES, ZONES] {
        println!("cargo:rerun-if-changed={file}");
    }
    let lines: LineFile = parse(LINES)?;
    let countries: CountryFile = parse(COUNTRIES)?;
    let mut out = String::new();
    let codes = write_countries(&mut out, &countries)?;
    let zones = write_zones(&mut out, &codes)?;
    write_lines(&mut out, &lines, &codes, &zones)?;
    write_numbers(&mut out, &lines, &countries);
    let folder = env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    fs::write(Path::new(&folder).join("help_lines.rs"), out).map_err(|error| error.to_string())
}

fn read(file: &str) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))
}

fn parse<T: for<'de> Deserialize<'de>>(file: &str) -> Result<T, String> {
    toml::from_str(&read(file)?).map_err(|error| format!("{file}: {error}"))
}

fn write_countries(out: &mut String, file: &CountryFile) -> Result<BTreeSet<String>, String> {
    check_date(&file.reviewed_on).map_err(|why| format!("{COUNTRIES}: reviewed_on: {why}"))?;
    let mut codes = BTreeSet::new();
    push(out, "pub(super) static COUNTRIES: &[Country] = &[\n");
    for row in &file.country {
        check_country(row).map_err(|why| format!("{COUNTRIES}: {}: {why}", row.code))?;
        if codes.last().is_some_and(|last: &String| *last >= row.code) {
            return Err(format!("{COUNTRIES}: {}: the rows are sorted by code, each once", row.code));
        }
        codes.insert(row.code.clone());
        let numbers: String = [("General", &row.general), ("Ambulance", &row.ambulance), ("Police", &row.police)]
            .into_iter()
            .filter_map(|(service, number)| Some((service, number.as_ref()?)))
            .map(|(service, number)| format!("EmergencyNumber {{ service: Service::{service}, number: {number:?} }}, "))
            .collect();
        push(
            out,
            &format!(
                "    Country {{ code: {:?}, code3: {:?}, name: Text {{ es: {:?}, en: {:?} }}, aliases: &{:?}, \
                 numbers: &[{numbers}], status: Status::{:?}, source: {:?}, source_date: {:?}, recheck: {:?} }},\n",
                row.code, row.code3, row.es, row.en, row.aliases, row.status, row.source, row.source_date, row.recheck,
            ),
        );
    }
    push(out, "];\n");
    Ok(codes)
}

fn check_country(row: &Country) -> Result<(), String> {
    let upper = |code: &str, len| code.len() == len && code.bytes().all(|b| b.is_ascii_uppercase());
    if !upper(&row.code, 2) || !upper(&row.code3, 3) {
        return Err("code is two, code3 three upper-case letters".to_owned());
    }
    if row.es.is_empty() || row.en.is_empty() || row.source.is_empty() {
        return Err("names in both languages and a source are needed".to_owned());
    }
    for number in [&row.general, &row.ambulance, &row.police].into_iter().flatten() {
        if !(2..=10).contains(&number.len()) || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("{number:?} is not an emergency number"));
        }
    }
    if row.general.is_none() && row.ambulance.is_none() && !matches!(row.status, Status::Unverified) {
        return Err("a row without a number to get help by is unverified".to_owned());
    }
    check_date(&row.source_date)
}

fn write_zones(out: &mut String, codes: &BTreeSet<String>) -> Result<BTreeSet<String>, String> {
    let mut zones = BTreeMap::new();
    for (number, line) in read(ZONES)?.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let (zone, country) = line
            .split_once('\t')
            .filter(|(_, country)| codes.contains(*country))
            .ok_or_else(|| format!("{ZONES}:{}: a zone, a tab and a country of {COUNTRIES}", number + 1))?;
        zones.insert(zone.to_owned(), country.to_owned());
    }
    push(out, "pub(super) static ZONES: &[(&str, &str)] = &[\n");
    for (zone, country) in &zones {
        push(out, &format!("    ({zone:?}, {country:?}),\n"));
    }
    push(out, "];\n");
    Ok(zones.into_keys().collect())
}

fn write_lines(
    out: &mut String,
    file: &LineFile,
    codes: &BTreeSet<String>,
    zones: &BTreeSet<String>,
) -> Result<(), String> {
    check_date(&file.reviewed_on).map_err(|why| format!("{LINES}: reviewed_on: {why}"))?;
    push(out, &format!("pub(super) const REVIEWED_ON: &str = {:?};\n", file.reviewed_on));
    push(out, "pub(super) static LINES: &[Line] = &[\n");
    for (index, row) in file.line.iter().enumerate() {
        let text = line(row, codes, zones)
            .map_err(|why| format!("{LINES}: line {}, {} {}: {why}", index + 1, row.country, es(&row.name)))?;
        push(out, &text);
    }
    push(out, "];\n");
    Ok(())
}

fn line(row: &Line, codes: &BTreeSet<String>, zones: &BTreeSet<String>) -> Result<String, String> {
    check_line(row, codes)?;
    let hours = hours(&row.hours, row.zone.as_deref(), zones)?;
    let also: String = row.also.iter().map(|kind| format!("LineKind::{kind:?}, ")).collect();
    let sms = row.sms.as_ref().map_or_else(
        || "None".to_owned(),
        |sms| format!("Some(SmsTo {{ to: {:?}, body: {:?}, body_es: {:?} }})", sms.to, sms.body, sms.body_es),
    );
    Ok(format!(
        "    Line {{ country: {:?}, kind: LineKind::{:?}, also: &[{also}], name: {}, dial: {:?}, display: {:?}, \
         how: {}, sms: {sms}, whatsapp: {:?}, url: {:?}, hours: {hours}, area: {}, languages: &{:?}, free: {}, \
         mobile_only: {}, status: Status::{:?}, source: {:?}, source_date: {:?}, verified_at: {:?}, recheck: {:?} }},\n",
        row.country,
        row.kind,
        text(&row.name),
        row.dial,
        row.display,
        optional(row.how.as_ref()),
        row.whatsapp,
        row.url,
        optional(row.area.as_ref()),
        row.languages,
        row.free,
        row.mobile_only,
        row.status,
        row.source,
        row.source_date,
        row.verified_at,
        row.recheck,
    ))
}

fn check_line(row: &Line, codes: &BTreeSet<String>) -> Result<(), String> {
    if !codes.contains(&row.country) {
        return Err(format!("{COUNTRIES} has no {:?}", row.country));
    }
    if row.dial.is_some() != row.display.is_some() {
        return Err("dial and display go together".to_owned());
    }
    if row.dial.is_none() && row.sms.is_none() && row.whatsapp.is_none() {
        return Err("a line has dial, sms or whatsapp".to_owned());
    }
    let sms = row.sms.as_ref().map(|sms| &sms.to);
    for number in [row.dial.as_ref(), row.whatsapp.as_ref(), sms].into_iter().flatten() {
        let digits = number.trim_start_matches(['+', '*']);
        if !(2..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("{number:?} is not a number to dial"));
        }
    }
    if row.languages.is_empty() || row.languages.iter().any(|code| code.len() != 2) {
        return Err("languages are ISO 639 codes of two letters".to_owned());
    }
    if row.source.trim().is_empty() || row.recheck.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
        return Err("source and recheck say something".to_owned());
    }
    [&row.source_date, &row.verified_at, &row.recheck_by].into_iter().try_for_each(|date| check_date(date))
}

fn hours(spec: &str, zone: Option<&str>, zones: &BTreeSet<String>) -> Result<String, String> {
    match (spec, zone) {
        ("24h", None) => return Ok("Hours::Always".to_owned()),
        ("unknown", None) => return Ok("Hours::Unknown".to_owned()),
        (_, Some(zone)) if zones.contains(zone) => {}
        _ => return Err("hours are 24h, unknown, or times in a zone of zones.tsv".to_owned()),
    }
    let mut spans = String::new();
    for part in spec.split(';') {
        let (days, times) = part.trim().split_once(' ').ok_or("hours: days, a blank, times")?;
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (from, to) = times.split_once('-').ok_or("hours: times are from-to")?;
        let (first, last, from, to) = (day(first)?, day(last)?, minute(from)?, minute(to)?);
        if first > last || from >= to {
            return Err(format!("hours: {part:?} ends before it begins"));
        }
        let _ = write!(spans, "Span {{ first: {first}, last: {last}, from: {from}, to: {to} }}, ");
    }
    Ok(format!("Hours::Spans {{ zone: {:?}, spans: &[{spans}] }}", zone.unwrap_or_default()))
}

fn day(name: &str) -> Result<usize, String> {
    let days = ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"];
    days.iter().position(|day| *day == name).ok_or_else(|| format!("hours: {name:?} is no day"))
}

fn minute(time: &str) -> Result<u16, String> {
    let wrong = || format!("hours: {time:?} is no time");
    let (hour, minute) = time.split_once(':').ok_or_else(wrong)?;
    let (hour, minute): (u16, u16) = (hour.parse().map_err(|_| wrong())?, minute.parse().map_err(|_| wrong())?);
    if minute > 59 || hour * 60 + minute > 24 * 60 {
        return Err(wrong());
    }
    Ok(hour * 60 + minute)
}

/// Digits of every number that a person may be shown, in the ways people write them.
fn write_numbers(out: &mut String, lines: &LineFile, countries: &CountryFile) {
    let digits = |number: &str| -> String { number.chars().filter(char::is_ascii_digit).collect() };
    let mut numbers = BTreeSet::new();
    for row in &lines.line {
        let country = row.country.clone();
        let sms = row.sms.as_ref().map(|sms| &sms.to);
        let how = row.how.iter().flat_map(|how| [es(how), en(how)]).flat_map(|how| how.split(' '));
        let how = how.filter(|word| word.len() >= 4).map(digits).filter(|how| how.len() >= 3);
        numbers.extend(how.map(|how| (how, country.clone())));
        for number in [row.dial.as_ref(), row.display.as_ref(), row.whatsapp.as_ref(), sms].into_iter().flatten() {
            let digits = digits(number);
            if number.starts_with('+') {
                // A calling code has one to three digits; without it, as people of the country write it.
                let national = (1..=3).filter_map(|code| digits.get(code..));
                numbers.extend(national.map(|digits| (digits.to_owned(), country.clone())));
            }
            let trunk = digits.trim_start_matches(['0', '1']);
            if digits.len() > 8 && trunk.len() >= 7 {
                numbers.insert((trunk.to_owned(), country.clone()));
            }
            numbers.insert((digits, country.clone()));
        }
    }
    for row in &countries.country {
        let emergency = [&row.general, &row.ambulance, &row.police].into_iter().flatten();
        numbers.extend(emergency.map(|number| (number.clone(), row.code.clone())));
    }
    let numbers: Vec<(String, String)> = numbers.into_iter().collect();
    push(out, &format!("pub(super) static NUMBERS: &[(&str, &str)] = &{numbers:?};\n"));
}

/// `YYYY-MM-DD`.
fn check_date(date: &str) -> Result<(), String> {
    let parts: Vec<Option<u32>> = date.split('-').map(|part| part.parse().ok()).collect();
    match parts[..] {
        [Some(2010..=2100), Some(1..=12), Some(1..=31)] if date.len() == 10 => Ok(()),
        _ => Err(format!("{date:?} is no date, YYYY-MM-DD")),
    }
}

fn es(text: &Text) -> &str {
    let (Text::Same(text) | Text::Each { es: text, .. }) = text;
    text
}

fn en(text: &Text) -> &str {
    let (Text::Same(text) | Text::Each { en: text, .. }) = text;
    text
}

fn text(text: &Text) -> String {
    format!("Text {{ es: {:?}, en: {:?} }}", es(text), en(text))
}

fn optional(value: Option<&Text>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| format!("Some({})", text(value)))
}

fn push(out: &mut String, text: &str) {
    out.push_str(text);
}
