//! Why a model gave no whole answer.

use std::time::Duration;

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
    },
    /// A time limit ran out.
    #[error("the model took too long: no {waiting_for} within {limit:?}")]
    Timeout {
        /// What did not come.
        waiting_for: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The stream holds something that is not the API's.
    #[error("the model's stream cannot be read: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The stream ended before the answer did.
    #[error("the model's stream ended before its answer")]
    Cut,
    /// The answer ended without a word.
    #[error("the model's answer was empty")]
    Empty,
    /// The answer ended without a word, and its finish reason says why: a filter, a limit, or
    /// nothing to say.
    #[error("the model gave no text: finish_reason {reason}")]
    Withheld {
        /// The finish reason, bounded, of visible ASCII.
        reason: String,
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
    /// Whether the same call may go better another time, as long as nothing of the answer
    /// was shown.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Malformed { .. }
            | Self::Cut
            | Self::Empty
            | Self::Exhausted { .. } => true,
            // The same request gives the same refusal, at the price of another answer's tokens.
            Self::Withheld { .. } | Self::NoProvider => false,
        }
    }

    /// Whether it says something about the provider, not about what it was asked.
    pub(super) fn is_providers_fault(&self) -> bool {
        match self {
            Self::Status { status, .. } => !matches!(status, 400 | 413 | 414 | 422),
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Malformed { .. } | Self::Cut | Self::Empty => true,
            // One person's words, or a limit of ours, must not cost everybody else the provider.
            Self::Withheld { .. } | Self::NoProvider | Self::Exhausted { .. } => false,
        }
    }

    /// How a call that ends with it is counted.
    pub(super) fn outcome(&self) -> CallOutcome {
        match self {
            Self::Unreachable { .. } | Self::NoProvider => CallOutcome::Unreachable,
            Self::Status { .. } => CallOutcome::Status,
            Self::Timeout { .. } => CallOutcome::Timeout,
            Self::Malformed { .. } => CallOutcome::Malformed,
            Self::Cut => CallOutcome::Cut,
            Self::Empty => CallOutcome::Empty,
            Self::Withheld { .. } => CallOutcome::Withheld,
            Self::Exhausted { .. } => CallOutcome::Exhausted,
        }
    }

    /// When the provider wants to be asked again, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Malformed { .. }
            | Self::Cut
            | Self::Empty
            | Self::Withheld { .. }
            | Self::Exhausted { .. }
            | Self::NoProvider => None,
        }
    }
}
