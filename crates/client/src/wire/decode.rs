//! Frames of the server. Not through [`ServerFrame`]'s own `Deserialize` where it matters:
//! that one has to keep a whole frame in pieces until it knows the type.

use std::borrow::Cow;

use protocol::server_frame::{Done, Entry, ErrorFrame, Exercise, Finish, Level, NoticeCode, Role, Source, Support};
use protocol::{ErrorCode, MessageId, ServerFrame, UserText};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A frame of a known type that is not what the contract says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a frame that is none")]
pub(crate) struct NotAFrame;

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
    /// One of a later version is left out.
    #[serde(default)]
    exercise: Option<Value>,
}

/// An error whose code this version does not know.
#[derive(Deserialize)]
struct OtherError {
    message: String,
    #[serde(default)]
    id: Option<MessageId>,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

/// Reads a line. `None` is to be ignored: a type of a later version, or text that came before
/// the connection was framed.
pub(crate) fn frame(line: &str) -> Result<Option<ServerFrame>, NotAFrame> {
    // `serde` would take an array for an object.
    if !line.trim_start().starts_with('{') {
        return Ok(None);
    }
    let Ok(Head { kind }) = serde_json::from_str(line) else { return Ok(None) };
    let frame = match &*kind {
        "delta" => serde_json::from_str(line).map(delta),
        "done" => known::<Done>(line).map(|done| ServerFrame::Done(Box::new(done))),
        "turn" if is_new::<Role>(line, "role") => return Ok(None),
        "turn" => known::<Entry>(line).map(ServerFrame::Turn),
        "support" => known::<Support>(line).map(|support| ServerFrame::Support(Box::new(support))),
        "notice" if is_new::<NoticeCode>(line, "code") => return Ok(None),
        "error" => {
            serde_json::from_str(line).or_else(|_| serde_json::from_str(line).map(other)).map(ServerFrame::Error)
        }
        "welcome" | "accepted" | "queued" | "response" | "notice" | "pong" => serde_json::from_str(line),
        _ => return Ok(None),
    };
    frame.map(Some).map_err(|_| NotAFrame)
}

/// Reads a frame; where that fails, once more with values that only later servers know replaced.
fn known<T: DeserializeOwned>(line: &str) -> Result<T, serde_json::Error> {
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

/// Tells whether the field holds a name of a later version.
fn is_new<T: DeserializeOwned>(line: &str, field: &str) -> bool {
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

fn other(OtherError { message, id, retry_after_ms }: OtherError) -> ErrorFrame {
    ErrorFrame { code: ErrorCode::Internal, message, id, retry_after_ms, trace_id: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_read_as_its_own_deserialize_reads_it() {
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
    fn what_is_new_is_ignored_and_what_is_broken_is_not() {
        for (line, want) in [
            ("Usuario-3 conectado.", Ok(None)),
            (r#"["delta"]"#, Ok(None)),
            (r#"{"type":"hologram","id":7}"#, Ok(None)),
            (r#"{"type":"notice","code":"weather","text":"llueve"}"#, Ok(None)),
            (r#"{"type":"notice","code":7}"#, Err(NotAFrame)),
            (r#"{"type":"turn","seq":1,"id":"a","role":"ghost","text":"x","at":"2026-01-02T03:04:05.000Z"}"#, Ok(None)),
            (r#"{"type":"delta","id":"a","offset":-1,"text":"x"}"#, Err(NotAFrame)),
            (r#"{"type":"pong","id":"a b"}"#, Err(NotAFrame)),
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
