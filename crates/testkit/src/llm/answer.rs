//! Scripted answers of the stand-in.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A scripted answer.
///
/// In JSON an object of these fields, all optional, or only the pieces: `["ho","la"]`, `"hola"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct Answer {
    /// Content chunks of the answer.
    pub pieces: Vec<String>,
    /// Raw body in place of `pieces` and their end: groups of bytes, written like groups of chunks.
    pub raw: Vec<String>,
    /// Milliseconds from the request to the first chunk, or to an error response.
    pub first_ms: u64,
    /// Milliseconds between groups of chunks.
    pub gap_ms: u64,
    /// Chunks per group, sent in one write; only effective with `gap_ms`.
    pub burst: usize,
    /// HTTP status; any other than 200 sends an error object.
    pub status: u16,
    /// Error body in place of the default one.
    pub error: Option<Value>,
    /// Value of the `Retry-After` header.
    pub retry_after: Option<RetryAfter>,
    /// Point at which the answer hangs, with the connection open.
    pub hang: Option<Hang>,
    /// Resets the connection after the pieces.
    pub cut: bool,
    /// Milliseconds from the last byte to the end of the response.
    pub end_ms: u64,
    /// Sends malformed bytes after the pieces, then ends.
    pub garbage: bool,
    /// `finish_reason` of the last chunk.
    pub finish: String,
    /// Sends usage if the request asks for it.
    pub usage: bool,
}

/// Value of a `Retry-After` header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum RetryAfter {
    /// Number of seconds.
    Seconds(u64),
    /// HTTP date, or any other text.
    Text(String),
}

impl RetryAfter {
    /// Returns the header's value.
    pub fn header(&self) -> String {
        match self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Point at which an answer hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hang {
    /// Before the response.
    Headers,
    /// After the last piece.
    Stream,
    /// After the last byte, `[DONE]` included: the response does not end.
    End,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            raw: Vec::new(),
            first_ms: 0,
            gap_ms: 0,
            burst: 1,
            status: 200,
            error: None,
            retry_after: None,
            hang: None,
            cut: false,
            end_ms: 0,
            garbage: false,
            finish: "stop".to_owned(),
            usage: true,
        }
    }
}

impl Answer {
    /// Creates an answer of `pieces`, without delays.
    pub fn pieces<P: Into<String>>(pieces: impl IntoIterator<Item = P>) -> Self {
        Self { pieces: pieces.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Creates an answer of one piece.
    pub fn text(text: impl Into<String>) -> Self {
        Self::pieces([text.into()])
    }

    /// Creates an answer with a raw body, in groups.
    pub fn raw<G: Into<String>>(groups: impl IntoIterator<Item = G>) -> Self {
        Self { raw: groups.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Creates an answer of `count` short pieces, for load tests.
    pub fn chunks(count: usize) -> Self {
        Self::pieces((0..count).map(|index| format!("palabra{index} ")))
    }

    /// Creates an error with this HTTP status.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Creates an error with this HTTP status and body.
    pub fn refusal(status: u16, error: Value) -> Self {
        Self { status, error: Some(error), ..Self::default() }
    }

    /// Hangs at `hang`.
    #[must_use]
    pub fn hanging(self, hang: Hang) -> Self {
        Self { hang: Some(hang), ..self }
    }

    /// Ends the response `end_ms` after its last byte.
    #[must_use]
    pub fn ending_after(self, end_ms: u64) -> Self {
        Self { end_ms, ..self }
    }

    /// Sets the delays before the first chunk and between groups.
    #[must_use]
    pub fn paced(self, first_ms: u64, gap_ms: u64) -> Self {
        Self { first_ms, gap_ms, ..self }
    }
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let answer = match value {
            Value::String(text) => Ok(Self::text(text)),
            Value::Array(_) => serde_json::from_value::<Vec<String>>(value).map(Self::pieces),
            // The derived function, which `remote` makes an inherent one.
            other => Self::deserialize(other),
        };
        answer.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let full = r#"{"pieces":["a"],"raw":["b"],"first_ms":1,"gap_ms":2,"burst":3,"status":429,"error":{"code":1},"retry_after":4,
            "hang":"stream","cut":true,"end_ms":5,"garbage":true,"finish":"length","usage":false}"#;
        let cases = [
            (r#""hola""#, Answer::text("hola")),
            (r#"["ho","la"]"#, Answer::pieces(["ho", "la"])),
            ("{}", Answer::default()),
            (r#"{"hang":"headers"}"#, Answer::default().hanging(Hang::Headers)),
            (r#"{"hang":"end"}"#, Answer::default().hanging(Hang::End)),
            (r#"{"end_ms":9}"#, Answer::default().ending_after(9)),
            (r#"{"retry_after":null}"#, Answer::default()),
            (
                r#"{"retry_after":"Wed, 21 Oct 2026 07:28:00 GMT"}"#,
                Answer {
                    retry_after: Some(RetryAfter::Text("Wed, 21 Oct 2026 07:28:00 GMT".to_owned())),
                    ..Answer::default()
                },
            ),
            (
                full,
                Answer {
                    pieces: vec!["a".to_owned()],
                    raw: vec!["b".to_owned()],
                    first_ms: 1,
                    gap_ms: 2,
                    burst: 3,
                    status: 429,
                    error: Some(serde_json::json!({"code": 1})),
                    retry_after: Some(RetryAfter::Seconds(4)),
                    hang: Some(Hang::Stream),
                    cut: true,
                    end_ms: 5,
                    garbage: true,
                    finish: "length".to_owned(),
                    usage: false,
                },
            ),
        ];
        for (json, want) in cases {
            assert_eq!(serde_json::from_str::<Answer>(json).unwrap(), want, "{json}");
        }
    }

    #[test]
    fn rejects_unknown_fields() {
        for json in [r#"{"peices":["a"]}"#, r#"{"hang":"never"}"#, "[1]", "3"] {
            assert!(serde_json::from_str::<Answer>(json).is_err(), "{json}");
        }
    }
}
