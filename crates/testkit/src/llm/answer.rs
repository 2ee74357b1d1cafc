//! What the stand-in says to one call.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// One scripted answer.
///
/// From JSON it is an object of these fields, all optional, or only the pieces:
/// `["ho","la"]`, `"hola"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct Answer {
    /// The text, one content chunk each.
    pub pieces: Vec<String>,
    /// The body as it is, in place of chunks of `pieces` and their end: groups of it, written as chunks are.
    pub raw: Vec<String>,
    /// Milliseconds from the request to the first chunk (to the response, if that is an error).
    pub first_ms: u64,
    /// Milliseconds between one group of chunks and the next.
    pub gap_ms: u64,
    /// Chunks in a group, written at once; only seen when `gap_ms` is not 0.
    pub burst: usize,
    /// HTTP status; anything but 200 is answered with an error object.
    pub status: u16,
    /// Body of an error, in place of the stand-in's own.
    pub error: Option<Value>,
    /// Value of the `Retry-After` header.
    pub retry_after: Option<RetryAfter>,
    /// Where to go silent, with the connection open.
    pub hang: Option<Hang>,
    /// Break the connection after the pieces.
    pub cut: bool,
    /// Milliseconds from the last byte to the end of the response, which then comes by itself.
    pub end_ms: u64,
    /// After the pieces, send bytes that are no chunk, and end.
    pub garbage: bool,
    /// `finish_reason` of the last chunk.
    pub finish: String,
    /// Whether a request for usage is honoured.
    pub usage: bool,
}

/// Value of a `Retry-After` header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum RetryAfter {
    /// A number of seconds.
    Seconds(u64),
    /// An HTTP date, or anything else to be sent as it is.
    Text(String),
}

impl RetryAfter {
    /// As the header holds it.
    pub fn header(&self) -> String {
        match self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// Where an answer goes silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hang {
    /// Before the response.
    Headers,
    /// After the pieces.
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
    /// `pieces`, at once.
    pub fn pieces<P: Into<String>>(pieces: impl IntoIterator<Item = P>) -> Self {
        Self { pieces: pieces.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// One piece.
    pub fn text(text: impl Into<String>) -> Self {
        Self::pieces([text.into()])
    }

    /// This body, in groups.
    pub fn raw<G: Into<String>>(groups: impl IntoIterator<Item = G>) -> Self {
        Self { raw: groups.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// `count` short pieces, for load.
    pub fn chunks(count: usize) -> Self {
        Self::pieces((0..count).map(|index| format!("palabra{index} ")))
    }

    /// An error with this HTTP status.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// An error with this HTTP status and body.
    pub fn refusal(status: u16, error: Value) -> Self {
        Self { status, error: Some(error), ..Self::default() }
    }

    /// Silence, from `hang` on.
    #[must_use]
    pub fn hanging(self, hang: Hang) -> Self {
        Self { hang: Some(hang), ..self }
    }

    /// The same, whose end comes `end_ms` after its last byte.
    #[must_use]
    pub fn ending_after(self, end_ms: u64) -> Self {
        Self { end_ms, ..self }
    }

    /// The same with delays before the first chunk and between chunks.
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
