//! Frames of the server. Not through [`ServerFrame`]'s own `Deserialize` where it matters:
//! that one has to keep a whole frame in pieces until it knows the type.

use std::borrow::Cow;

use protocol::server_frame::{Done, Entry, ErrorFrame};
use protocol::{ErrorCode, MessageId, ServerFrame, UserText};
use serde::Deserialize;

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
        "delta" => serde_json::from_str(line).map(|Delta { id, offset, text }| ServerFrame::Delta { id, offset, text }),
        "done" => serde_json::from_str::<Done>(line).map(|done| ServerFrame::Done(Box::new(done))),
        "turn" => serde_json::from_str::<Entry>(line).map(ServerFrame::Turn),
        "error" => {
            serde_json::from_str(line).or_else(|_| serde_json::from_str(line).map(other)).map(ServerFrame::Error)
        }
        "welcome" | "accepted" | "queued" | "support" | "response" | "notice" | "pong" => serde_json::from_str(line),
        _ => return Ok(None),
    };
    frame.map(Some).map_err(|_| NotAFrame)
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
            (r#"{"type":"delta","id":"a","offset":-1,"text":"x"}"#, Err(NotAFrame)),
            (r#"{"type":"pong","id":"a b"}"#, Err(NotAFrame)),
        ] {
            assert_eq!(frame(line), want, "{line}");
        }
        let new = r#"{"type":"error","code":"too_sunny","message":"m","id":"a","retry_after_ms":5}"#;
        let Ok(Some(ServerFrame::Error(error))) = frame(new) else { panic!("no error") };
        assert_eq!((error.code, error.retry_after_ms), (ErrorCode::Internal, Some(5)));
    }
}
