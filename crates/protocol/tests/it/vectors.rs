//! Every vector, through the line codec and the types of its side.

use std::collections::BTreeSet;

use bytes::BytesMut;
use protocol::client_frame::Rejection;
use protocol::limits::MAX_SERVER_LINE_BYTES;
use protocol::server_frame::ErrorFrame;
use protocol::{ClientFrame, ErrorCode, Inbound, Language, ServerFrame};
use serde_json::Value;

use crate::contract::{CLIENT_SCHEMA, SERVER_SCHEMA, Side, Vector, decode, invalid, valid};

/// Invalid lines that the schema accepts: too long as lines, with a duplicate field (lost once the JSON is parsed), or
/// with a whole number in another notation.
const SCHEMA_CANNOT_EXPRESS: [&str; 7] = [
    "duplicate-id",
    "duplicate-text",
    "duplicate-type",
    "hello-since-exponent",
    "hello-v-with-point",
    "line-of-65537-bytes",
    "text-8000-emoji-all-escaped",
];

/// Well formed server frames that Rust writes in another form: the vector, the text read, the text written.
const NORMALISED_WHEN_WRITTEN: [(&str, &str, &str); 1] =
    // Help lines are selected by country, and 419 is none.
    [("server-welcome-other-limits", r#""locale":"es-419""#, r#""locale":"es""#)];

fn of(side: Side) -> Vec<Vector> {
    let mut vectors = valid();
    vectors.retain(|vector| vector.side == side);
    assert!(40 <= vectors.len(), "only {} vectors of the {side:?}", vectors.len());
    vectors
}

/// Parses a line as a server does before it looks at the connection's state.
fn answer(line: &[u8]) -> Result<ClientFrame, ErrorCode> {
    match decode(line).as_slice() {
        [Inbound::Line { trace: None, text }] => {
            ClientFrame::parse(text.expose()).map_err(|Rejection { code, .. }| code)
        }
        [Inbound::Rejected { code, .. }] => Err(*code),
        other => panic!("one line became {other:?}"),
    }
}

#[test]
fn parses_valid_client_lines() {
    for vector in of(Side::Client) {
        let json: Value = serde_json::from_str(&vector.text()).unwrap();
        assert!(CLIENT_SCHEMA.accepts(&json), "{}: not valid by the schema", vector.name);
        let frame = answer(&vector.bytes());
        assert!(frame.is_ok(), "{}: {frame:?}", vector.name);
    }
}

#[test]
fn client_frames_round_trip() {
    for vector in of(Side::Client) {
        let frame = answer(&vector.bytes()).unwrap();
        let mut written = BytesMut::new();
        frame.encode_line(&mut written);
        let line = written.strip_suffix(b"\n").unwrap();
        assert!(!line.contains(&b'\n'), "{}", vector.name);
        let json: Value = serde_json::from_slice(line).unwrap();
        assert!(CLIENT_SCHEMA.accepts(&json), "{}: written as {json}", vector.name);
        assert_eq!(answer(line), Ok(frame), "{}: written as {json}", vector.name);
    }
}

#[test]
fn server_lines_round_trip() {
    let known = known_fields(&SERVER_SCHEMA.json);
    for vector in of(Side::Server) {
        let (name, line) = (&vector.name, vector.text());
        assert!(line.len() <= MAX_SERVER_LINE_BYTES && !line.contains('\n'), "{name}");
        let json: Value = serde_json::from_str(&line).unwrap();
        assert!(SERVER_SCHEMA.accepts(&json), "{name}: not valid by the schema");

        let frame: ServerFrame = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut written = BytesMut::new();
        frame.encode_line(&mut written);
        let again: Value = serde_json::from_slice(&written).unwrap();
        assert!(SERVER_SCHEMA.accepts(&again), "{name}: written as {again}");

        let otherwise = NORMALISED_WHEN_WRITTEN.iter().find(|(of, ..)| of == name);
        assert_eq!(otherwise.is_some(), plain(&again, &known) != plain(&json, &known), "{name}: written as {again}");
        if let Some((_, reads, writes)) = otherwise {
            assert!(line.contains(reads), "{name}: no {reads}");
            let want: Value = serde_json::from_str(&line.replace(reads, writes)).unwrap();
            assert_eq!(plain(&again, &known), plain(&want, &known), "{name}");
        }
    }
    let names: BTreeSet<String> = of(Side::Server).into_iter().map(|vector| vector.name).collect();
    assert!(NORMALISED_WHEN_WRITTEN.iter().all(|(name, ..)| names.contains(*name)), "an exception for no vector");
}

/// Returns every field name of the schema, at any depth.
fn known_fields(schema: &Value) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut left = vec![schema];
    while let Some(value) = left.pop() {
        if let Some(Value::Object(properties)) = value.get("properties") {
            known.extend(properties.keys().cloned());
        }
        match value {
            Value::Object(fields) => left.extend(fields.values()),
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    known
}

/// Returns `value` without the parts that a reader ignores: unknown fields, and `null` for an absent one.
fn plain(value: &Value, known: &BTreeSet<String>) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, value)| known.contains(*name) && !value.is_null())
            .map(|(name, value)| (name.clone(), plain(value, known)))
            .collect(),
        Value::Array(items) => items.iter().map(|item| plain(item, known)).collect(),
        other => other.clone(),
    }
}

#[test]
fn error_vectors_match_errors_json() {
    let mut seen = BTreeSet::new();
    for vector in of(Side::Server) {
        if let Ok(ServerFrame::Error(frame)) = serde_json::from_str(&vector.text()) {
            let ErrorFrame { code, message, retry_after_ms, .. } = frame;
            let after = retry_after_ms.map(std::time::Duration::from_millis);
            let texts = [Language::Spanish, Language::English].map(|language| code.message(language, after));
            assert!(texts.contains(&message), "{}: {message}", vector.name);
            assert_eq!(retry_after_ms.is_some(), code.has_retry_after(), "{}", vector.name);
            seen.insert(code.to_string());
        }
    }
    assert_eq!(seen.len(), ErrorCode::ALL.len(), "codes without a vector");
}

#[test]
fn rejects_invalid_lines_with_expected_code() {
    let mut of_state = 0;
    for vector in invalid() {
        let answered = answer(&vector.bytes());
        if vector.depends_on_state() {
            // Well formed; a server rejects it by the connection's state.
            of_state += 1;
            assert!(answered.is_ok(), "{}: {answered:?}", vector.name);
        } else {
            assert_eq!(answered.err(), vector.error, "{}", vector.name);
        }
        // The first line of a connection is taken for a frame, however malformed.
        if vector.before_hello {
            let hint = ClientFrame::hint(&vector.text());
            let hello_required = vector.error == Some(ErrorCode::HelloRequired);
            assert_eq!(hint.map(|hint| !hint.is_hello()), Some(hello_required), "{}", vector.name);
        }
    }
    assert!(30 <= of_state, "only {of_state} vectors that depend on state");
}

#[test]
fn schema_rejects_invalid_lines_it_can_express() {
    let mut pass = Vec::new();
    for vector in invalid() {
        let json = serde_json::from_slice::<Value>(&vector.bytes()).ok();
        let accepted = json.is_some_and(|json| CLIENT_SCHEMA.accepts(&json));
        if vector.depends_on_state() {
            assert!(accepted, "{}: well formed, and the schema refuses it", vector.name);
        } else if accepted {
            pass.push(vector.name);
        }
    }
    pass.sort();
    assert_eq!(pass, SCHEMA_CANNOT_EXPRESS, "the schema can tell more, or less, than the list says");
}
