//! Loads `proto-line`. A missing, unknown or unused file in the folder fails the test.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use bytes::BytesMut;
use jsonschema::Validator;
use protocol::{ErrorCode, Inbound, LineCodec};
use serde::Deserialize;
use serde_json::Value;

/// Fewest vectors of either kind: fewer mean that the loader is broken.
const MIN_VECTORS: usize = 60;

pub(crate) static CLIENT_SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::load("client-frames.schema.json"));
pub(crate) static SERVER_SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::load("server-frames.schema.json"));

/// One row of `vectors/*.jsonl`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) side: Side,
    pub(crate) error: Option<ErrorCode>,
    #[serde(default)]
    pub(crate) before_hello: bool,
    line: Option<String>,
    line_hex: Option<String>,
    repeat: Option<Repeat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Side {
    Client,
    Server,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    prefix: String,
    unit: String,
    times: usize,
    suffix: String,
}

impl Vector {
    /// The line's bytes, without an ending.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match (&self.line, &self.line_hex, &self.repeat) {
            (Some(line), None, None) => line.clone().into_bytes(),
            (None, Some(hex), None) => unhex(hex),
            (None, None, Some(repeat)) => {
                [repeat.prefix.clone(), repeat.unit.repeat(repeat.times), repeat.suffix.clone()].concat().into_bytes()
            }
            _ => panic!("{}: exactly one of line, line_hex and repeat", self.name),
        }
    }

    /// The line as text, for vectors that are UTF-8.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap_or_else(|_| panic!("{}: not UTF-8", self.name))
    }

    /// Returns `true` if the line is well formed and only out of place.
    pub(crate) fn depends_on_state(&self) -> bool {
        self.name.starts_with("state-")
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    assert!(digits.len().is_multiple_of(2), "{hex}: half a byte");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Well formed lines of both sides.
pub(crate) fn valid() -> Vec<Vector> {
    let vectors = load("valid.jsonl");
    for vector in &vectors {
        assert!(vector.error.is_none() && !vector.before_hello, "{}: a key of invalid.jsonl", vector.name);
        assert!(vector.line_hex.is_none(), "{}: a well formed line is UTF-8", vector.name);
    }
    vectors
}

/// Lines that a server rejects.
pub(crate) fn invalid() -> Vec<Vector> {
    let vectors = load("invalid.jsonl");
    for vector in &vectors {
        assert!(vector.error.is_some(), "{}: no error code", vector.name);
        assert_eq!(vector.side, Side::Client, "{}", vector.name);
    }
    vectors
}

fn load(file: &str) -> Vec<Vector> {
    assert_files("vectors", &["invalid.jsonl", "valid.jsonl"]);
    let vectors: Vec<Vector> = read(&format!("vectors/{file}"))
        .lines()
        .map(|row| serde_json::from_str(row).unwrap_or_else(|error| panic!("{file}: {error}: {row}")))
        .collect();
    assert!(MIN_VECTORS <= vectors.len(), "{file}: {} vectors", vectors.len());
    let names: BTreeSet<&str> = vectors.iter().map(|vector| vector.name.as_str()).collect();
    assert_eq!(names.len(), vectors.len(), "{file}: a name is used twice");
    vectors
}

/// A schema as it is and ready to validate.
pub(crate) struct Schema {
    pub(crate) json: Value,
    validator: Validator,
}

impl Schema {
    fn load(file: &str) -> Self {
        assert_files("schemas", &["client-frames.schema.json", "server-frames.schema.json"]);
        let json: Value = serde_json::from_str(&read(&format!("schemas/{file}"))).unwrap();
        jsonschema::meta::validate(&json).unwrap_or_else(|error| panic!("{file}: {error}"));
        let validator = jsonschema::validator_for(&json).unwrap();
        Self { json, validator }
    }

    pub(crate) fn accepts(&self, instance: &Value) -> bool {
        self.validator.is_valid(instance)
    }

    /// The schema's own value at a JSON pointer below `$defs`.
    pub(crate) fn defined(&self, pointer: &str) -> &Value {
        self.json.pointer(&format!("/$defs/{pointer}")).unwrap_or_else(|| panic!("{pointer} is not in the schema"))
    }
}

/// One row of `closes.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Close {
    pub(crate) name: String,
    pub(crate) by: String,
    pub(crate) websocket: Option<u16>,
    pub(crate) reconnect: bool,
}

/// `closes.json`.
pub(crate) fn closes() -> Vec<Close> {
    serde_json::from_str(&read("closes.json")).unwrap()
}

/// `SPEC.md`.
pub(crate) fn spec() -> String {
    read("SPEC.md")
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto-line")
}

fn read(path: &str) -> String {
    fs::read_to_string(folder().join(path)).unwrap_or_else(|error| panic!("proto-line/{path}: {error}"))
}

fn assert_files(below: &str, known: &[&str]) {
    let mut found: Vec<String> = fs::read_dir(folder().join(below))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, known, "proto-line/{below}: a file is missing, or no test uses it");
}

/// Decodes `line` as a server with default configuration does.
pub(crate) fn decode(line: &[u8]) -> Vec<Inbound> {
    let mut codec = LineCodec::default();
    let mut bytes = BytesMut::from(line);
    bytes.extend_from_slice(b"\n");
    let inbound = std::iter::from_fn(|| codec.next_line(&mut bytes)).collect();
    assert!(bytes.is_empty(), "something is left of a whole line");
    inbound
}
