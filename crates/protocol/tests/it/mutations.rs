//! Vectors with something changed: `ClientFrame::parse` and the schema must judge them alike.

use std::fmt;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use protocol::client_frame::{Hello, Rejection, Request};
use protocol::limits::{DEFAULT_REQUEST_TIMEOUT_MS, MAX_TEXT_CHARS};
use protocol::{ClientFrame, ErrorCode, Inbound, Locale, MessageId};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::contract::{CLIENT_SCHEMA, Side, decode, invalid, valid};

const TYPES: [&str; 6] = ["hello", "message", "stop", "request", "ping", "bye"];
const FIELDS: [&str; 13] =
    ["type", "v", "resume", "since", "locale", "client", "auth", "id", "text", "method", "params", "timeout_ms", "x"];

/// Whole numbers, as opposed to `1.0`, have a meaning in these fields.
const WHOLE_NUMBERS: [&str; 3] = ["v", "since", "timeout_ms"];

/// Change of one byte of a line.
#[derive(Debug, Clone)]
enum ByteChange {
    Removed(Index),
    Doubled(Index),
    Replaced(Index, u8),
}

impl ByteChange {
    fn apply(&self, line: &mut Vec<u8>) {
        match (self, line.len()) {
            (_, 0) => {}
            (Self::Removed(at), len) => drop(line.remove(at.index(len))),
            (Self::Doubled(at), len) => line.insert(at.index(len), line[at.index(len)]),
            (Self::Replaced(at, byte), len) => line[at.index(len)] = *byte,
        }
    }
}

fn byte_change() -> impl Strategy<Value = ByteChange> {
    prop_oneof![
        any::<Index>().prop_map(ByteChange::Removed),
        any::<Index>().prop_map(ByteChange::Doubled),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| ByteChange::Replaced(at, byte)),
        (any::<Index>(), select(b"\"\\{}[]:,019-eu\t\r\n".to_vec()))
            .prop_map(|(at, byte)| ByteChange::Replaced(at, byte)),
    ]
}

/// Change of one field of a frame.
#[derive(Debug, Clone)]
enum FieldChange {
    Removed,
    Set(String),
    GivenTwice(String),
}

fn field_change() -> impl Strategy<Value = FieldChange> {
    prop_oneof![
        1 => Just(FieldChange::Removed),
        6 => select(values()).prop_map(FieldChange::Set),
        1 => select(values()).prop_map(FieldChange::GivenTwice),
    ]
}

/// JSON worth trying in any field: every kind of value, and both sides of every limit.
fn values() -> Vec<String> {
    let mut values: Vec<String> = [
        "null true false 0 1 -1 -0 1.0 1e2 0.5 99 100 30000 30001 9007199254740991 9007199254740992",
        "18446744073709551615 18446744073709551616 [] {} [1] [\"ping\"] {\"a\":1} {\"a\":1,\"a\":2} {\"a\":null}",
    ]
    .iter()
    .flat_map(|row| row.split(' ').map(str::to_owned))
    .collect();
    let words =
        ["", " ", "a", "a b", "es", "ES_ar", "es-", "es-419", "zh-Hant-TW", "espanol", "saludo", "ñ", "a\n", "\t"];
    let spaces = ["\u{85}", "\u{a0}", "\u{200b}", "\u{2028}", "\u{3000}", "\u{feff}", "\0", "a\0", "\u{1c}"];
    let strings = words.into_iter().chain(spaces).chain(TYPES).map(str::to_owned);
    let long =
        [64, 65, 128, 129, 8_000, 8_001, 8_192, 8_193].map(|length| ["a", "ñ", " "].map(|unit| unit.repeat(length)));
    values.extend(strings.chain(long.into_iter().flatten()).map(|text| Value::from(text).to_string()));
    values.extend([r#""\ud83d""#, r#""\ud83d\ude00""#, r#"{"a":"\ude00"}"#].map(str::to_owned));
    values.extend([126, 127, 128].map(|levels| ["[".repeat(levels), "]".repeat(levels)].concat()));
    values
}

/// Vectors short enough for a change to matter.
fn short_lines() -> Vec<Vec<u8>> {
    let lines: Vec<Vec<u8>> = valid()
        .into_iter()
        .filter(|vector| vector.side == Side::Client)
        .chain(invalid())
        .map(|vector| vector.bytes())
        .filter(|line| line.len() <= 1_000)
        .collect();
    assert!(150 <= lines.len(), "only {} short lines", lines.len());
    lines
}

/// The fields of well formed client frames, each with its value as JSON.
fn frames() -> Vec<Vec<(String, String)>> {
    valid()
        .into_iter()
        .filter(|vector| vector.side == Side::Client)
        .filter_map(|vector| serde_json::from_slice::<Map<String, Value>>(&vector.bytes()).ok())
        .map(|frame| frame.into_iter().map(|(name, value)| (name, value.to_string())).collect())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn parser_and_schema_agree_on_changed_bytes(
        mut line in select(short_lines()),
        changes in proptest::collection::vec(byte_change(), 1..4),
    ) {
        changes.iter().for_each(|change| change.apply(&mut line));
        for inbound in decode(&line) {
            match inbound {
                Inbound::Line { text, .. } => check_agreement(text.expose())?,
                Inbound::Rejected { code, .. } => prop_assert_eq!(code, ErrorCode::InvalidUtf8),
            }
        }
    }

    #[test]
    fn parser_and_schema_agree_on_changed_fields(
        mut fields in select(frames()),
        changes in proptest::collection::vec((select(FIELDS.to_vec()), field_change()), 1..4),
    ) {
        for (name, change) in changes {
            if !matches!(change, FieldChange::GivenTwice(_)) {
                fields.retain(|(field, _)| field != name);
            }
            if let FieldChange::Set(value) | FieldChange::GivenTwice(value) = change {
                fields.push((name.to_owned(), value));
            }
        }
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        check_agreement(&format!("{{{}}}", fields.join(",")))?;
    }
}

/// Shortens `line` for a failure message, and counts the characters left out.
fn shown(line: &str) -> String {
    let start: String = line.chars().take(300).collect();
    let rest = line.chars().count() - start.chars().count();
    format!("{start} and {rest} more")
}

fn check_agreement(line: &str) -> Result<(), TestCaseError> {
    let parsed = ClientFrame::parse(line);
    let code = parsed.as_ref().err().map(|Rejection { code, .. }| *code);
    let json = match serde_json::from_str::<Value>(line) {
        Ok(json) => Some(json),
        Err(error) if error.to_string().starts_with("recursion limit exceeded") => {
            prop_assert!(code.is_some(), "{}", shown(line));
            return Ok(());
        }
        // Numbers of any size are JSON, but `Value` cannot hold them.
        Err(error) if error.to_string().starts_with("number out of range") => return Ok(()),
        Err(_) => None,
    };
    prop_assert_eq!(code, expected_code(line, json.as_ref()), "{}", shown(line));
    match (parsed, json) {
        (Ok(frame), Some(json)) => {
            prop_assert_eq!(ClientFrame::hint(line).map(|hint| hint.is_hello()), Some(json["type"] == "hello"));
            prop_assert_eq!(fields_of(frame), known_fields(&json));
        }
        (Err(Rejection { id: Some(id), .. }), Some(json)) => prop_assert_eq!(id.as_str(), &json["id"]),
        _ => {}
    }
    Ok(())
}

/// Returns the code of `line` by `SPEC.md` §3 and the schema; `None` if it is well formed.
fn expected_code(line: &str, json: Option<&Value>) -> Option<ErrorCode> {
    let Some(Value::Object(frame)) = json else { return Some(ErrorCode::BadFrame) };
    let Some(kind) = frame.get("type").and_then(Value::as_str) else { return Some(ErrorCode::BadFrame) };
    let given = |field: &str| keys(line).iter().filter(|key| *key == field).count();
    if 1 < given("type") {
        return Some(ErrorCode::BadFrame);
    }
    if !TYPES.contains(&kind) {
        return Some(ErrorCode::UnknownType);
    }
    let chars = frame.get("text").and_then(Value::as_str).map_or(0, |text| text.chars().count());
    if kind == "message" && given("text") == 1 && MAX_TEXT_CHARS < chars {
        return Some(ErrorCode::TextTooLong);
    }
    let known = CLIENT_SCHEMA.defined(&format!("{kind}/properties")).as_object().unwrap();
    let twice = known.keys().any(|field| 1 < given(field));
    let fractions =
        WHOLE_NUMBERS.iter().any(|field| known.contains_key(*field) && frame.get(*field).is_some_and(Value::is_f64));
    (twice || fractions || !CLIENT_SCHEMA.accepts(&json!(frame))).then_some(ErrorCode::BadFrame)
}

/// Returns the keys of the object on `line`, duplicates included.
fn keys(line: &str) -> Vec<String> {
    struct Keys(Vec<String>);

    impl<'de> Deserialize<'de> for Keys {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(EveryKey).map(Self)
        }
    }

    struct EveryKey;

    impl<'de> Visitor<'de> for EveryKey {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
            let mut keys = Vec::new();
            while let Some((key, IgnoredAny)) = map.next_entry()? {
                keys.push(key);
            }
            Ok(keys)
        }
    }

    serde_json::from_str::<Keys>(line).unwrap().0
}

/// Returns the fields of a frame as JSON, without absent ones.
fn fields_of(frame: ClientFrame) -> Value {
    let id = |id: MessageId| id.to_string();
    let mut fields = match frame {
        ClientFrame::Hello(Hello { v, resume, since, locale, client, auth, country, time_zone, keep }) => json!({
            "type": "hello", "v": v, "resume": resume, "since": since, "locale": locale, "client": client, "auth": auth,
            "country": country, "time_zone": time_zone, "keep": keep,
        }),
        ClientFrame::Message { id: of, text } => json!({"type": "message", "id": id(of), "text": text.expose()}),
        ClientFrame::Stop { id: of } => json!({"type": "stop", "id": id(of)}),
        ClientFrame::Request(Request { id: of, method, params, timeout }) => json!({
            "type": "request", "id": id(of), "method": method, "params": params,
            "timeout_ms": u64::try_from(timeout.as_millis()).unwrap(),
        }),
        ClientFrame::Ping { id: of } => json!({"type": "ping", "id": of.map(id)}),
        ClientFrame::Bye => json!({"type": "bye"}),
    };
    fields.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    fields
}

/// Returns the known fields of the JSON, with the contract's defaults for absent ones.
fn known_fields(json: &Value) -> Value {
    let kind = json["type"].as_str().unwrap();
    let known = CLIENT_SCHEMA.defined(&format!("{kind}/properties")).as_object().unwrap();
    let mut fields = json.as_object().unwrap().clone();
    fields.retain(|name, value| known.contains_key(name) && !value.is_null());
    if let Some(locale) = fields.get_mut("locale") {
        *locale = json!(locale.as_str().unwrap().parse::<Locale>().unwrap());
    }
    if let Some(country) = fields.get_mut("country") {
        *country = json!(country.as_str().unwrap().to_ascii_uppercase());
    }
    if kind == "request" {
        fields.entry("params").or_insert_with(|| json!({}));
        fields.entry("timeout_ms").or_insert_with(|| json!(DEFAULT_REQUEST_TIMEOUT_MS));
    }
    fields.into()
}
