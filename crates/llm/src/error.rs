//! Errors of calls to a model, and their classification.

use std::time::Duration;

use super::error_body::{Cause, ErrorBody};
use super::finish_class::FinishClass;
use super::metrics::CallOutcome;

/// Error of a call to a model. Holds the failure and its numbers only: no prompt, no answer, no key.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// Connecting failed, or the connection broke before the response began.
    #[error("the model cannot be reached: {reason}")]
    Unreachable {
        /// Error of the network stack.
        reason: String,
    },
    /// HTTP error status.
    #[error("the model answered with HTTP status {status}")]
    Status {
        /// Status code.
        status: u16,
        /// The provider's `Retry-After`.
        retry_after: Option<Duration>,
        /// Facts of the response's body.
        body: Box<ErrorBody>,
    },
    /// A timeout expired.
    #[error("the model took too long: no {waiting_for} within {limit:?}")]
    Timeout {
        /// The awaited event.
        waiting_for: &'static str,
        /// The timeout.
        limit: Duration,
    },
    /// The deadline over all calls of a message expired, most of it used by earlier calls.
    #[error("the deadline left {left:?} for the call")]
    Deadline {
        /// Time that was left for this call.
        left: Duration,
    },
    /// Timeouts of other calls opened the breaker while this one waited for its first token.
    #[error("circuit breaker opened: other calls to the provider timed out")]
    BreakerOpened,
    /// The response does not follow the API.
    #[error("the model's stream cannot be read: {reason}")]
    Malformed {
        /// The violation.
        reason: &'static str,
    },
    /// The stream ended before the answer.
    #[error("the model's stream ended before its answer")]
    Truncated,
    /// The answer ended without text.
    #[error("the model's answer was empty")]
    Empty,
    /// The answer ended without text but with a finish reason, or a filter ended it.
    #[error("the model gave no whole answer: finish_reason {reason}")]
    Withheld {
        /// Finish reason, sanitized for logs.
        reason: String,
    },
    /// The provider reported a failure in the stream.
    #[error("the provider reported a failure: {code}")]
    Reported {
        /// Error code or finish reason, sanitized for logs.
        code: String,
    },
    /// The limit on concurrent calls was reached for the whole wait.
    #[error("every connection to the model was in use for {limit:?}")]
    Exhausted {
        /// Duration of the wait.
        limit: Duration,
    },
    /// No provider permits a call.
    #[error("no provider is left to be asked")]
    NoProvider,
}

impl LlmError {
    /// Error of a connection that was not made, or broke before the response began; has the root cause alone.
    pub(super) fn unreachable(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::Unreachable { reason: cause.to_string() }
    }

    /// True if a retry with the same provider may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            // 409, 425: retryable by definition; 498: no capacity at the moment (Groq); 499: the provider, or its
            // proxy, timed out. A used-up quota outlasts a person's patience.
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
            // Deterministic: a retry costs another answer's tokens for the same rejection.
            Self::Empty | Self::Withheld { .. } => false,
            Self::Deadline { .. } | Self::BreakerOpened | Self::NoProvider => false,
        }
    }

    /// True if the provider is to blame, and not the message or a limit of ours.
    pub(super) fn is_provider_fault(&self) -> bool {
        match self {
            // 451 (unavailable for legal reasons) may concern the text.
            Self::Status { status: 400 | 413 | 414 | 422 | 451, .. } => false,
            Self::Status { body, .. } => !matches!(body.cause, Cause::Flagged | Cause::TooLong),
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Malformed { .. }
            | Self::Truncated
            | Self::Reported { .. } => true,
            // One person's text, or a limit of ours, must not open the breaker for all others.
            Self::Empty | Self::Withheld { .. } => false,
            Self::Deadline { .. } | Self::BreakerOpened | Self::NoProvider | Self::Exhausted { .. } => false,
        }
    }

    /// True if the provider has not processed the prompt, as far as is known.
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

    /// True if the provider sent nothing within the timeout.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// True if the provider's filter rejected the prompt or withheld the whole answer: it will again.
    pub fn is_filtered(&self) -> bool {
        self.is_flagged()
            || matches!(self, Self::Withheld { reason } if FinishClass::of(reason) == FinishClass::Withheld)
    }

    /// True if the provider's filter rejected the prompt.
    pub fn is_flagged(&self) -> bool {
        matches!(self, Self::Status { status: 400 | 403 | 422 | 451, body, .. } if body.cause == Cause::Flagged)
    }

    /// True if the request exceeded the model's context, or the tokens per minute (429).
    pub fn is_too_long(&self) -> bool {
        matches!(self, Self::Status { status: 400 | 413 | 422 | 429, body, .. } if body.cause == Cause::TooLong)
    }

    /// True if one failure proves that a setting, or the server, must be corrected first.
    pub(super) fn is_misconfiguration(&self) -> bool {
        match self {
            Self::Status { status: 401 | 402 | 404, .. } => true,
            Self::Status { status: 403, .. } => !self.is_flagged(),
            Self::Status { body, .. } => matches!(body.cause, Cause::Quota | Cause::Model),
            // After every retry: there is no server.
            Self::Unreachable { .. } => true,
            _ => false,
        }
    }

    /// Advice for the operator; `several`: providers are configured in a file.
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
            // Another kind of server: a web page, or a foreign stream.
            Self::Status { status: 300..=399 | 405, .. }
            | Self::Malformed { .. }
            | Self::Truncated
            | Self::Unreachable { .. } => of("check LLM_URL", "check its \"url\" in LLM_PROVIDERS"),
            Self::Timeout { .. } => "check the model's server, or raise LLM_FIRST_TOKEN_TIMEOUT_SECONDS",
            _ => "see the log",
        }
    }

    /// Outcome for metrics.
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

    /// The provider's `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// `error.code` of the body; safe to log.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Status { body, .. } => body.code(),
            _ => None,
        }
    }

    /// `error.param` of the body; safe to log.
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

    /// Columns: transient; provider's fault; misconfiguration; advice.
    #[test]
    fn classifies_statuses() {
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
    fn recognizes_filters_by_all_their_names() {
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
