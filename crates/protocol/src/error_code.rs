//! Error codes of a conversation (`proto-line/SPEC.md` §7).

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::locale::Language;

/// Codes of `error` frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not a JSON object of the contract.
    BadFrame,
    /// A JSON object whose `type` no client frame has.
    UnknownType,
    /// A line over [`crate::limits::MAX_LINE_BYTES`].
    LineTooLong,
    /// A line that is not UTF-8.
    InvalidUtf8,
    /// A message over [`crate::limits::MAX_TEXT_CHARS`].
    TextTooLong,
    /// A frame before `hello`.
    HelloRequired,
    /// A `hello` of another version.
    VersionUnsupported,
    /// A resume token without a session.
    BadResume,
    /// The peer is not authorized.
    Unauthorized,
    /// More messages in the window than a person may send.
    RateLimited,
    /// More messages pending than a session may have.
    UserBusy,
    /// The queue for the model is full.
    Overloaded,
    /// A dependency of the answer is down for now.
    Unavailable,
    /// No answer to a request by its deadline.
    Timeout,
    /// The target of the frame does not exist.
    NotFound,
    /// A request for a method that does not exist.
    UnknownMethod,
    /// A request whose parameters do not fit its method.
    BadParams,
    /// The answer was stopped.
    Stopped,
    /// The peer reads more slowly than its answers arrive.
    SlowConsumer,
    /// The limit on connections is reached.
    TooManyConnections,
    /// The server is shutting down.
    ShuttingDown,
    /// A defect on our side.
    Internal,
}

/// One row of `proto-line/errors.json`, in the order of [`ErrorCode::ALL`].
#[derive(Debug, Deserialize)]
struct Row {
    #[cfg_attr(not(test), expect(dead_code, reason = "a test holds it against ALL"))]
    code: ErrorCode,
    closes_connection: bool,
    retry_after: bool,
    message: Message,
}

#[derive(Debug, Deserialize)]
struct Message {
    es: String,
    en: String,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../../proto-line/errors.json"))
        .expect("errors.json is part of the program, and a test reads every row")
});

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 22] = [
        Self::BadFrame,
        Self::UnknownType,
        Self::LineTooLong,
        Self::InvalidUtf8,
        Self::TextTooLong,
        Self::HelloRequired,
        Self::VersionUnsupported,
        Self::BadResume,
        Self::Unauthorized,
        Self::RateLimited,
        Self::UserBusy,
        Self::Overloaded,
        Self::Unavailable,
        Self::Timeout,
        Self::NotFound,
        Self::UnknownMethod,
        Self::BadParams,
        Self::Stopped,
        Self::SlowConsumer,
        Self::TooManyConnections,
        Self::ShuttingDown,
        Self::Internal,
    ];

    fn row(self) -> &'static Row {
        // In bounds: a test holds the rows and `ALL` in one order.
        &ROWS[self as usize]
    }

    /// Returns `true` if the server closes the connection after it.
    pub fn closes_connection(self) -> bool {
        self.row().closes_connection
    }

    /// Returns `true` if its frame carries `retry_after_ms`.
    pub fn has_retry_after(self) -> bool {
        self.row().retry_after
    }

    /// Returns the message for the person. It names `retry_after` in seconds, rounded up, at least 1.
    pub fn message(self, language: Language, retry_after: Option<Duration>) -> String {
        let message = &self.row().message;
        let text = match language {
            Language::Spanish => &message.es,
            Language::English => &message.en,
        };
        let seconds = retry_after.unwrap_or_default().as_millis().div_ceil(1_000).max(1);
        text.replace("{seconds}", &seconds.to_string())
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_row_and_messages() {
        assert_eq!(ROWS.len(), ErrorCode::ALL.len());
        for (code, row) in ErrorCode::ALL.into_iter().zip(ROWS.iter()) {
            assert_eq!(code, row.code);
            for language in [Language::Spanish, Language::English] {
                let message = code.message(language, Some(Duration::from_millis(2_100)));
                assert!(!message.is_empty() && !message.contains('{'), "{code}: {message}");
                assert_eq!(message.contains('3'), code.has_retry_after(), "{code}: {message}");
            }
        }
    }

    #[test]
    fn closing_codes_match_contract() {
        let closing: Vec<String> =
            ErrorCode::ALL.into_iter().filter(|code| code.closes_connection()).map(|code| code.to_string()).collect();
        assert_eq!(
            closing,
            ["version_unsupported", "unauthorized", "slow_consumer", "too_many_connections", "shutting_down"]
        );
    }
}
