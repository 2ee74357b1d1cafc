//! Decodes server frames. Hot types bypass the derived `Deserialize` of [`ServerFrame`], whose
//! internal tag makes serde buffer the whole frame.

use std::borrow::Cow;

use protocol::server_frame::{Done, Entry, ErrorFrame, Exercise, Finish, Level, NoticeCode, Role, Source, Support};
use protocol::{ErrorCode, MessageId, ServerFrame, UserText};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A frame of a known type that violates the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a malformed frame")]
pub(crate) struct MalformedFrame;

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Delta {
    id: MessageId,
    offset: usize,
    text: UserText,
    /// Raw, so that exercises of later versions are ignored.
    #[serde(default)]
    exercise: Option<Value>,
}

/// Error with a code of a later version.
#[derive(Deserialize)]
struct UnknownError {
    message: String,
    #[serde(default)]
    id: Option<MessageId>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

/// Decodes a line. `None` for lines to ignore: frame types of later versions, and text sent
/// before the connection was framed.
pub(crate) fn frame(line: &str) -> Result<Option<ServerFrame>, MalformedFrame> {
    // serde accepts an array in place of an object.
    if !line.trim_start().starts_with('{') {
        return Ok(None);
    }
    let Ok(Head { kind }) = serde_json::from_str(line) else { return Ok(None) };
    let frame = match &*kind {
        "delta" => serde_json::from_str(line).map(delta),
        "done" => with_known_values::<Done>(line).map(|done| ServerFrame::Done(Box::new(done))),
        "turn" if has_unknown_value::<Role>(line, "role") => return Ok(None),
        "turn" => with_known_values::<Entry>(line).map(ServerFrame::Turn),
        "support" => with_known_values::<Support>(line).map(|support| ServerFrame::Support(Box::new(support))),
        "notice" if has_unknown_value::<NoticeCode>(line, "code") => return Ok(None),
        "error" => serde_json::from_str(line)
            .or_else(|_| serde_json::from_str(line).map(unknown_error))
            .map(ServerFrame::Error),
        "welcome" | "accepted" | "queued" | "forgotten" | "response" | "notice" | "pong" => serde_json::from_str(line),
        _ => return Ok(None),
    };
    frame.map(Some).map_err(|_| MalformedFrame)
}

/// Decodes a frame; on failure, once more with values of later versions replaced.
fn with_known_values<T: DeserializeOwned>(line: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(line).or_else(|error| {
        let Ok(mut frame) = serde_json::from_str::<Map<String, Value>>(line) else { return Err(error) };
        replace::<Finish>(&mut frame, "finish", "stop");
        replace::<Source>(&mut frame, "source", "companion");
        replace::<Level>(&mut frame, "level", "concern");
        serde_json::from_value(Value::Object(frame))
    })
}

fn replace<T: DeserializeOwned>(frame: &mut Map<String, Value>, field: &str, instead: &str) {
    if let Some(value) = frame.get_mut(field).filter(|value| is_unknown::<T>(value)) {
        *value = instead.into();
    }
}

/// True if the field holds a name of a later version.
fn has_unknown_value<T: DeserializeOwned>(line: &str, field: &str) -> bool {
    let frame = serde_json::from_str::<Map<String, Value>>(line).unwrap_or_default();
    frame.get(field).is_some_and(is_unknown::<T>)
}

fn is_unknown<T: DeserializeOwned>(value: &Value) -> bool {
    value.is_string() && T::deserialize(value).is_err()
}

fn delta(Delta { id, offset, text, exercise }: Delta) -> ServerFrame {
    let exercise = exercise.and_then(|exercise| Exercise::deserialize(exercise).ok());
    ServerFrame::Delta { id, offset, text, exercise }
}

fn unknown_error(UnknownError { message, id, retry_after_ms }: UnknownError) -> ErrorFrame {
    ErrorFrame { code: ErrorCode::Internal, message, id, retry_after_ms, trace_id: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_derived_deserialize_on_all_vectors() {
        let vectors = include_str!("../../../../proto-line/vectors/valid.jsonl");
        let mut seen = 0;
        for row in vectors.lines() {
            let row: serde_json::Value = serde_json::from_str(row).unwrap();
            if let ("server", Some(line)) = (row["side"].as_str().unwrap(), row["line"].as_str()) {
                seen += 1;
                let want: ServerFrame = serde_json::from_str(line).unwrap();
                assert_eq!(frame(line), Ok(Some(want)), "{}", row["name"]);
            }
        }
        assert!(40 <= seen, "only {seen} vectors");
    }

    #[test]
    fn ignores_unknown_types_and_rejects_malformed_frames() {
        for (line, want) in [
            ("Usuario-3 conectado.", Ok(None)),
            (r#"["delta"]"#, Ok(None)),
            (r#"{"type":"hologram","id":7}"#, Ok(None)),
            (r#"{"type":"notice","code":"weather","text":"llueve"}"#, Ok(None)),
            (r#"{"type":"notice","code":7}"#, Err(MalformedFrame)),
            (r#"{"type":"turn","seq":1,"id":"a","role":"ghost","text":"x","at":"2026-01-02T03:04:05.000Z"}"#, Ok(None)),
            (r#"{"type":"delta","id":"a","offset":-1,"text":"x"}"#, Err(MalformedFrame)),
            (r#"{"type":"pong","id":"a b"}"#, Err(MalformedFrame)),
        ] {
            assert_eq!(frame(line), want, "{line}");
        }
        let new = r#"{"type":"done","id":"a","finish":"merged","source":"oracle","chars":0,"ms":{"queue":0,"first":0,"total":0}}"#;
        let Ok(Some(ServerFrame::Done(done))) = frame(new) else { panic!("no end") };
        assert_eq!((done.finish, done.source, done.seq), (Finish::Stop, Source::Companion, None));
        let new = r#"{"type":"support","id":"a","level":"grave","subject":"us","kind":"x","text":"t","resources":[]}"#;
        let Ok(Some(ServerFrame::Support(support))) = frame(new) else { panic!("no help") };
        assert_eq!((support.help.level, support.help.kind), (Level::Concern, None));
        let new = r#"{"type":"error","code":"too_sunny","message":"m","id":"a","retry_after_ms":5}"#;
        let Ok(Some(ServerFrame::Error(error))) = frame(new) else { panic!("no error") };
        assert_eq!((error.code, error.retry_after_ms), (ErrorCode::Internal, Some(5)));
    }
}
