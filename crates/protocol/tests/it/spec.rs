//! Conformance of the Rust lists and limits to `SPEC.md` and the schemas.

use protocol::limits::{
    DEFAULT_HISTORY_ENTRIES, DEFAULT_REQUEST_TIMEOUT_MS, MAX_ANSWER_CHARS, MAX_AUTH_CHARS, MAX_CLIENT_CHARS,
    MAX_HISTORY_ENTRIES, MAX_LINE_BYTES, MAX_METHOD_CHARS, MAX_REPLAY_ENTRIES, MAX_REQUEST_TIMEOUT_MS,
    MAX_RESUME_CHARS, MAX_SERVER_LINE_BYTES, MAX_TEXT_CHARS, MAX_TIME_ZONE_CHARS, MIN_REQUEST_TIMEOUT_MS,
};
use protocol::{CloseReason, ErrorCode};
use serde_json::json;

use crate::contract::{CLIENT_SCHEMA, Close, SERVER_SCHEMA, closes, spec};

/// Returns the cells of each row that begins with a name in backquotes, in section `number`.
fn rows(number: u32) -> Vec<Vec<String>> {
    let spec = spec();
    let section = spec.split("\n## ").find(|section| section.starts_with(&format!("{number}. "))).unwrap();
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').skip(1).map(|cell| cell.trim().replace('`', "")).collect())
        .collect()
}

#[test]
fn close_reasons_match_section_8_and_closes_json() {
    let rows = rows(8);
    let listed: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(listed, CloseReason::ALL.map(CloseReason::name));
    let closes = closes();
    let by_core: Vec<&Close> = closes.iter().filter(|close| close.by == "core").collect();
    assert_eq!(by_core.iter().map(|close| close.name.as_str()).collect::<Vec<_>>(), listed);
    for (row, close) in rows.iter().zip(by_core) {
        let code = close.websocket.map_or_else(|| "none: the client is gone".to_owned(), |code| code.to_string());
        assert_eq!(row[2], code, "{}", close.name);
        let found = CloseReason::from_name(close.name.as_bytes()).map(CloseReason::name);
        assert_eq!(found, Some(close.name.as_str()));
    }
}

#[test]
fn websocket_codes_match_section_6_and_closes_json() {
    let spec = spec();
    let (_, section) = spec.split_once("| why it ended | close reason (§8) |").unwrap();
    let (table, rest) = section.split_once("\n\n").unwrap();
    let (reconnect, _) = rest.split_once("doing the same again").unwrap();
    let (after, never) = reconnect.split_once(';').unwrap();
    let closes = closes();
    for close in closes.iter().filter(|close| close.websocket.is_some()) {
        let code = close.websocket.unwrap();
        let reason = if close.by == "core" { format!("| `{}` | {code} |", close.name) } else { format!(" | {code} |") };
        assert!(table.contains(&reason), "section 6 has no row for {close:?}");
        let (named, other) = if close.reconnect { (after, never) } else { (never, after) };
        let number = code.to_string();
        assert!(named.contains(&number) && !other.contains(&number), "whether to reconnect: {close:?}");
    }
    let sent_by_core = CloseReason::ALL.iter().filter(|reason| **reason != CloseReason::ClientGone).count();
    assert_eq!(table.lines().filter(|row| row.contains("| `")).count(), sent_by_core, "section 6 has other reasons");
}

#[test]
fn error_codes_match_section_7_and_schema() {
    let rows = rows(7);
    let listed: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(listed, ErrorCode::ALL.map(|code| code.to_string()));
    for (row, code) in rows.iter().zip(ErrorCode::ALL) {
        assert_eq!((row[2] == "yes", row[3] == "yes"), (code.has_retry_after(), code.closes_connection()), "{code}");
    }
    assert_eq!(SERVER_SCHEMA.defined("error/properties/code/enum"), &json!(listed));
    let timed = SERVER_SCHEMA.defined("error/if/properties/code/enum");
    let carrying: Vec<_> = ErrorCode::ALL.into_iter().filter(|code| code.has_retry_after()).collect();
    assert_eq!(timed, &json!(carrying));
}

/// Formats `number` as `SPEC.md` writes it.
fn written(number: impl TryInto<u64>) -> String {
    let number = number.try_into().ok().unwrap();
    if number < 1_000 { number.to_string() } else { format!("{},{:03}", number / 1_000, number % 1_000) }
}

#[test]
fn limits_match_spec_md() {
    let [client, resume, auth] = [MAX_CLIENT_CHARS, MAX_RESUME_CHARS, MAX_AUTH_CHARS].map(written);
    let [shortest, default, longest] =
        [MIN_REQUEST_TIMEOUT_MS, DEFAULT_REQUEST_TIMEOUT_MS, MAX_REQUEST_TIMEOUT_MS].map(written);
    let (line, server_line) = (written(MAX_LINE_BYTES), written(MAX_SERVER_LINE_BYTES));
    let (text, answer) = (written(MAX_TEXT_CHARS), written(MAX_ANSWER_CHARS));
    let (most, usual) = (written(MAX_HISTORY_ENTRIES), written(DEFAULT_HISTORY_ENTRIES));
    let sentences = [
        format!("`max_line_bytes` of `welcome`, {line} unless configured"),
        format!("| server → client | {server_line} bytes |"),
        format!("an answer is cut at {answer} characters"),
        format!("| `message` | `id`, `text` | text: 1 to {text} characters |"),
        format!("A `text` of more than {text} characters: `text_too_long`"),
        format!("| | `resume`? | 1 to {resume} characters |"),
        format!("| | `client`? | up to {client} characters |"),
        format!("| | `auth`? | up to {auth} characters |"),
        format!("| | `time_zone`? | up to {} characters |", written(MAX_TIME_ZONE_CHARS)),
        format!("method: 1 to {} characters", written(MAX_METHOD_CHARS)),
        format!("| | `timeout_ms`? | integer, {shortest} to {longest} | deadline for the answer; default {default} |"),
        format!("the newest {}; `missed` counts the rest", written(MAX_REPLAY_ENTRIES)),
        format!("`limit`? (1 to {most}, default {usual})"),
    ];
    let spec = spec();
    for sentence in sentences {
        assert!(spec.contains(&sentence), "SPEC.md does not say: {sentence}");
    }
}

#[test]
fn limits_match_schemas() {
    let stated = [
        ("text/maxLength", json!(MAX_TEXT_CHARS)),
        ("hello/properties/client/maxLength", json!(MAX_CLIENT_CHARS)),
        ("hello/properties/resume/maxLength", json!(MAX_RESUME_CHARS)),
        ("hello/properties/auth/maxLength", json!(MAX_AUTH_CHARS)),
        ("hello/properties/time_zone/maxLength", json!(MAX_TIME_ZONE_CHARS)),
        ("request/properties/method/maxLength", json!(MAX_METHOD_CHARS)),
        ("request/properties/timeout_ms/minimum", json!(MIN_REQUEST_TIMEOUT_MS)),
        ("request/properties/timeout_ms/default", json!(DEFAULT_REQUEST_TIMEOUT_MS)),
        ("request/properties/timeout_ms/maximum", json!(MAX_REQUEST_TIMEOUT_MS)),
    ];
    for (pointer, limit) in stated {
        assert_eq!(CLIENT_SCHEMA.defined(pointer), &limit, "{pointer}");
    }
    assert_eq!(SERVER_SCHEMA.defined("historyResult/properties/entries/maxItems"), &json!(MAX_HISTORY_ENTRIES));
}
