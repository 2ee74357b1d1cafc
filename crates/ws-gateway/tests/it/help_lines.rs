//! Checks the page's offline copy of the help lines.

use std::fmt::Write as _;
use std::path::Path;

use protocol::Language;
use safety::resources::{self, Resource};
use serde_json::{Map, Value, json};

/// Set by `scripts/help-lines`: writes the file instead of comparing it.
const WRITE: &str = "PSICOIA_WRITE_HELP_LINES";
/// Address of the directory, as in `web/js/help-lines.js`.
const DIRECTORY: &str = "https://findahelpline.com/countries/";

#[test]
fn page_help_lines_match_data() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/help-lines.json");
    let wanted = help_lines();
    assert!(serde_json::from_str::<Value>(&wanted).is_ok());
    for help in resources::all(Language::Spanish) {
        let directory = format!("{DIRECTORY}{}", help.code.to_ascii_lowercase());
        assert_eq!(help.resources.last().and_then(|last| last.url.as_ref()), Some(&directory));
    }
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path, wanted).unwrap();
        return;
    }
    let held = std::fs::read_to_string(path).unwrap();
    assert!(held == wanted, "web/help-lines.json differs from crates/safety/data: run scripts/help-lines");
}

/// Renders all countries, one resource per line, so that a changed number is a one-line diff.
fn help_lines() -> String {
    let (spanish, english) = (resources::all(Language::Spanish), resources::all(Language::English));
    let countries = spanish.iter().zip(&english).map(|(es, en)| {
        let rows = es.resources.iter().zip(&en.resources);
        // The page derives its country's directory address itself.
        let lines = rows.filter(|(es, _)| !is_directory(es)).map(|(es, en)| format!("    {}", row(es, en)));
        format!(
            "  {{\"code\": {}, \"name\": {}, \"resources\": [\n{}\n  ]}}",
            json!(es.code),
            either(es.name, en.name),
            lines.collect::<Vec<_>>().join(",\n"),
        )
    });
    let mut out = format!("{{\"reviewed_on\": {},\n\"countries\": [\n", json!(resources::reviewed_on()));
    let _ = write!(out, "{}\n],\n\"zones\": {{\n", countries.collect::<Vec<_>>().join(",\n"));
    let zones = resources::zones().map(|(zone, country)| format!("  {}: {}", json!(zone), json!(country)));
    let _ = write!(out, "{}\n}}}}\n", zones.collect::<Vec<_>>().join(",\n"));
    out
}

/// Returns true for the last row of each country, whose address ends in the country's code.
fn is_directory(resource: &Resource) -> bool {
    resource.url.as_ref().is_some_and(|url| url.starts_with(DIRECTORY) && resource.dial.is_none())
}

/// Returns one text, or one per language if they differ.
fn either(es: &str, en: &str) -> Value {
    if es == en { json!(es) } else { json!({"es": es, "en": en}) }
}

/// Omits the page's defaults: the number as the contact, and around the clock.
fn row(es: &Resource, en: &Resource) -> Value {
    let mut row = Map::new();
    let mut put = |name: &str, value: Value| row.insert(name.to_owned(), value);
    put("kind", json!(es.kind));
    put("name", either(&es.name, &en.name));
    if es.dial.as_ref() != Some(&es.contact) || es.contact != en.contact {
        put("contact", either(&es.contact, &en.contact));
    }
    if es.hours != "24 h" || en.hours != "24 h" {
        put("hours", either(&es.hours, &en.hours));
    }
    let optional = [("dial", &es.dial), ("whatsapp", &es.whatsapp), ("url", &es.url), ("source", &es.source)];
    for (name, value) in optional.into_iter().chain([("verified_at", &es.verified_at)]) {
        if let Some(value) = value {
            put(name, json!(value));
        }
    }
    if let (Some(es), Some(en)) = (&es.area, &en.area) {
        put("area", either(es, en));
    }
    if let (Some(es), Some(en)) = (&es.sms, &en.sms) {
        let body = either(es.body.as_deref().unwrap_or_default(), en.body.as_deref().unwrap_or_default());
        put("sms", json!({"to": es.to, "body": body}));
    }
    if !es.languages.is_empty() {
        put("languages", json!(es.languages));
    }
    for (name, is) in [("free", es.free && es.kind != "emergency"), ("unverified", es.unverified)] {
        if is {
            put(name, json!(true));
        }
    }
    Value::Object(row)
}
