//! Why a model gave no whole answer.

use std::time::Duration;

use super::error_body::{Cause, ErrorBody};
use super::reader::FinishClass;
use crate::metrics::CallOutcome;

/// Why a model gave no whole answer. Names the failure and its numbers only: no prompt,
/// no answer, no key.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// No connection, or it broke before the answer began.
    #[error("the model cannot be reached: {reason}")]
    Unreachable {
        /// What the network said.
        reason: String,
    },
    /// The provider answered with an error status.
    #[error("the model answered with HTTP status {status}")]
    Status {
        /// The status.
        status: u16,
        /// When the provider wants to be asked again.
        retry_after: Option<Duration>,
        /// What the response says besides.
        body: Box<ErrorBody>,
    },
    /// A time limit ran out.
    #[error("the model took too long: no {waiting_for} within {limit:?}")]
    Timeout {
        /// What did not come.
        waiting_for: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The time for all calls of a message was used up, most of it by other calls.
    #[error("the deadline left {left:?} for the call")]
    Deadline {
        /// Time that was left for this one.
        left: Duration,
    },
    /// The breaker has opened while the call was waiting for its first piece.
    #[error("circuit breaker opened: other calls to the provider timed out")]
    BreakerOpened,
    /// The stream holds something that is not the API's.
    #[error("the model's stream cannot be read: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The stream ended before the answer did.
    #[error("the model's stream ended before its answer")]
    Truncated,
    /// The answer ended without a word.
    #[error("the model's answer was empty")]
    Empty,
    /// The answer ended without a word and with a finish reason, or a filter ended it before its
    /// own end.
    #[error("the model gave no whole answer: finish_reason {reason}")]
    Withheld {
        /// The finish reason, bounded, of harmless characters.
        reason: String,
    },
    /// The provider said in its stream that it failed.
    #[error("the provider reported a failure: {code}")]
    Reported {
        /// The error's code or the finish reason, bounded, of harmless characters.
        code: String,
    },
    /// As many calls as are allowed were under way all the time.
    #[error("every connection to the model was in use for {limit:?}")]
    Exhausted {
        /// How long was waited.
        limit: Duration,
    },
    /// No provider is left that could answer.
    #[error("no provider is left to be asked")]
    NoProvider,
}

impl LlmError {
    /// Whether the same request may succeed with the same provider another time.
    pub fn is_transient(&self) -> bool {
        match self {
            // 409, 425: as the name says; 498: no capacity at the moment (Groq); 499: the provider, or a proxy of its
            // own, gave up the call. An account without quota stays so for longer than a person waits.
            Self::Status { status, body, .. } => {
                let is_lasting = body.cause == Cause::Quota || self.is_flagged() || self.is_too_long();
                matches!(status, 408 | 409 | 425 | 429 | 498 | 499 | 500..=599) && !is_lasting
            }
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Malformed { .. }
            | Self::Truncated
            | Self::Reported { .. }
            | Self::Exhausted { .. } => true,
            // The same request gives the same refusal, at the price of another answer's tokens.
            Self::Empty | Self::Withheld { .. } => false,
            Self::Deadline { .. } | Self::BreakerOpened | Self::NoProvider => false,
        }
    }

    /// Whether it says something about the provider, and not about the message or about limits of ours.
    pub(super) fn is_provider_fault(&self) -> bool {
        match self {
            // 451: unavailable for legal reasons, which a text may be.
            Self::Status { status: 400 | 413 | 414 | 422 | 451, .. } => false,
            Self::Status { body, .. } => !matches!(body.cause, Cause::Flagged | Cause::TooLong),
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Malformed { .. }
            | Self::Truncated
            | Self::Reported { .. } => true,
            // One person's words, or a limit of ours, must not cost everybody else the provider.
            Self::Empty | Self::Withheld { .. } => false,
            Self::Deadline { .. } | Self::BreakerOpened | Self::NoProvider | Self::Exhausted { .. } => false,
        }
    }

    /// Whether the provider did no work on the call, as far as is known: it never read the prompt.
    pub(super) fn is_free_of_charge(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Status { .. } | Self::Exhausted { .. } | Self::NoProvider => true,
            Self::Timeout { .. }
            | Self::Deadline { .. }
            | Self::BreakerOpened
            | Self::Malformed { .. }
            | Self::Truncated
            | Self::Empty
            | Self::Withheld { .. }
            | Self::Reported { .. } => false,
        }
    }

    /// Whether the provider was silent for as long as a call may wait.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// Whether the provider's filter has refused the prompt, or taken the whole answer to it away: it will again.
    pub fn is_filtered(&self) -> bool {
        self.is_flagged()
            || matches!(self, Self::Withheld { reason } if FinishClass::of(reason) == FinishClass::Withheld)
    }

    /// Whether the provider's filter has refused the prompt, in place of an answer.
    pub fn is_flagged(&self) -> bool {
        matches!(self, Self::Status { status: 400 | 403 | 422 | 451, body, .. } if body.cause == Cause::Flagged)
    }

    /// Whether the request did not fit into the model's context, or into the tokens of a minute (429).
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::Status { status: 400 | 413 | 422 | 429, body, .. } if body.cause == Cause::TooLong)
    }

    /// Whether one message is enough to know that a setting, or the server, has to be corrected before there can be
    /// an answer.
    pub(super) fn is_misconfiguration(&self) -> bool {
        match self {
            Self::Status { status: 401 | 402 | 404, .. } => true,
            Self::Status { status: 403, .. } => !self.is_flagged(),
            Self::Status { body, .. } => matches!(body.cause, Cause::Quota | Cause::Model),
            // After every try: no server is there.
            Self::Unreachable { .. } => true,
            _ => false,
        }
    }

    /// What an operator can do about it; `several`: the providers stand in a file.
    pub(super) fn advice(&self, several: bool) -> &'static str {
        let of = |one, file| if several { file } else { one };
        match self {
            Self::Status { body, .. } if body.cause == Cause::Quota => "check the account's quota and credit",
            Self::Status { body, .. } if body.cause == Cause::Model => {
                of("check MODEL_NAME", "check its \"model\" in LLM_PROVIDERS")
            }
            Self::Status { status: 401 | 403, .. } if !self.is_flagged() => {
                of("check GROQ_API_KEY", "check its key in LLM_PROVIDERS")
            }
            Self::Status { status: 402, .. } => "check the account's quota and credit",
            Self::Status { status: 404, .. } => {
                of("check LLM_URL and MODEL_NAME", "check its \"url\" and \"model\" in LLM_PROVIDERS")
            }
            Self::Status { status: 400 | 422, body, .. } if body.cause == Cause::Other => of(
                "check MODEL_NAME, LLM_MAX_TOKENS and LLM_TEMPERATURE",
                "check its \"model\" in LLM_PROVIDERS, LLM_MAX_TOKENS and LLM_TEMPERATURE",
            ),
            Self::Status { status: 429, .. } => "the provider's limit is reached",
            // Another kind of server: a page, or a stream that is no answer.
            Self::Status { status: 300..=399 | 405, .. }
            | Self::Malformed { .. }
            | Self::Truncated
            | Self::Unreachable { .. } => of("check LLM_URL", "check its \"url\" in LLM_PROVIDERS"),
            Self::Timeout { .. } => "check the model's server, or raise LLM_FIRST_TOKEN_TIMEOUT_SECONDS",
            _ => "see the log",
        }
    }

    /// How a call that ends with it is counted.
    pub(super) fn outcome(&self) -> CallOutcome {
        match self {
            Self::Unreachable { .. } | Self::NoProvider => CallOutcome::Unreachable,
            Self::Status { .. } => CallOutcome::Status,
            Self::Timeout { .. } | Self::Deadline { .. } => CallOutcome::Timeout,
            Self::BreakerOpened => CallOutcome::Cancelled,
            Self::Malformed { .. } => CallOutcome::Malformed,
            Self::Truncated => CallOutcome::Truncated,
            Self::Empty => CallOutcome::Empty,
            Self::Withheld { .. } => CallOutcome::Withheld,
            Self::Reported { .. } => CallOutcome::Reported,
            Self::Exhausted { .. } => CallOutcome::Exhausted,
        }
    }

    /// When the provider wants to be asked again, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// `error.code` of the provider's body; safe to be logged.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Status { body, .. } => body.code(),
            _ => None,
        }
    }

    /// `error.param` of the provider's body; safe to be logged.
    pub(super) fn param(&self) -> Option<&str> {
        match self {
            Self::Status { body, .. } => body.param(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16, body: &str) -> LlmError {
        LlmError::Status { status, retry_after: None, body: Box::new(ErrorBody::parse(body.as_bytes())) }
    }

    /// Asked again; held against the provider; known from one call; what to do.
    #[test]
    fn statuses() {
        let flagged = r#"{"error":{"code":"content_filter"}}"#;
        let quota = r#"{"error":{"code":"insufficient_quota"}}"#;
        let model = r#"{"error":{"code":"model_not_found"}}"#;
        let long = r#"{"error":{"code":"context_length_exceeded"}}"#;
        let settings = "check MODEL_NAME, LLM_MAX_TOKENS and LLM_TEMPERATURE";
        for (code, body, want) in [
            (307, "", (false, true, false, "check LLM_URL")),
            (400, "", (false, false, false, settings)),
            (400, flagged, (false, false, false, "see the log")),
            (400, long, (false, false, false, "see the log")),
            (400, model, (false, false, true, "check MODEL_NAME")),
            (401, "", (false, true, true, "check GROQ_API_KEY")),
            (402, "", (false, true, true, "check the account's quota and credit")),
            (403, "", (false, true, true, "check GROQ_API_KEY")),
            (403, flagged, (false, false, false, "see the log")),
            (404, "", (false, true, true, "check LLM_URL and MODEL_NAME")),
            (404, model, (false, true, true, "check MODEL_NAME")),
            (408, "", (true, true, false, "see the log")),
            (409, "", (true, true, false, "see the log")),
            (422, "", (false, false, false, settings)),
            (425, "", (true, true, false, "see the log")),
            (429, "", (true, true, false, "the provider's limit is reached")),
            (429, long, (false, false, false, "the provider's limit is reached")),
            (429, quota, (false, true, true, "check the account's quota and credit")),
            (498, "", (true, true, false, "see the log")),
            (499, "", (true, true, false, "see the log")),
            (503, "", (true, true, false, "see the log")),
        ] {
            let error = status(code, body);
            let got =
                (error.is_transient(), error.is_provider_fault(), error.is_misconfiguration(), error.advice(false));
            assert_eq!(got, want, "{code} {body}");
        }
        assert_eq!(status(401, "").advice(true), "check its key in LLM_PROVIDERS");
    }

    #[test]
    fn filters_are_known_by_every_name_that_they_have() {
        let flagged = r#"{"error":{"code":"content_filter"}}"#;
        for (code, body, want) in [(400, flagged, true), (400, "", false), (500, flagged, false)] {
            assert_eq!(status(code, body).is_filtered(), want, "{code} {body}");
        }
        for (reason, want) in [
            ("content_filter", true),
            ("SAFETY", true),
            ("sensitive", true),
            ("refusal", true),
            ("guardrail_intervened", true),
            ("stop", false),
            ("length", false),
            ("error", false),
            ("", false),
        ] {
            assert_eq!(LlmError::Withheld { reason: reason.to_owned() }.is_filtered(), want, "{reason}");
        }
    }
}
