//! One message from admission to stored answer: limits, context, model, store.
//!
//! Turns must not depend on connections: an answer goes to an [`AnswerSink`].

mod admission;
mod budget;
mod calibration;
mod companion;
mod context;
mod exchange;
mod excluded;
mod generate;
mod instructions;
mod opinion;
mod record;
mod referrals;
mod risk;
mod stream;
mod summarizer;

use std::sync::Arc;
use std::time::Duration;

use cluster::{ClaimNumber, Cluster};
use limits::{ClientSubnet, ConcurrencyLimiter, LimiterSaturated};
use llm::Model;
use protocol::server_frame::{ErrorFrame, Exercise, Finish, Source, Timing, Usage};
use protocol::trace::Traceparent;
use protocol::{Country, ErrorCode, Language, MessageId, MessageLabel, Timestamp, UserText};
use store::{Store, StoreError};
use tokio::time::Instant;

use crate::guard::Guard;
use crate::metrics::Metrics;

pub use admission::Admission;
pub use budget::{AnswerOwner, Attempt, AttemptKind, Budget, BudgetSettings, Permit};
pub use context::{Context, ContextSettings};
pub use record::{RECORD_TIMEOUT, RecordError};
pub use referrals::Referrals;
pub use risk::{MessageRisk, Risk};
pub use summarizer::{Summarizer, SummaryJob, SummarySettings};

/// `retry_after` for a person with too many messages in flight: about the duration of an answer.
const BUSY_RETRY: Duration = Duration::from_secs(2);

/// Admits, answers and records messages; shared by all sessions.
#[derive(Debug)]
pub struct TurnService {
    /// Sessions and entries.
    pub store: Arc<dyn Store>,
    /// Admits everything that leads to a call to the model.
    pub budget: Budget,
    /// Limiter of concurrent model calls.
    pub slots: Arc<ConcurrencyLimiter>,
    /// The model; without one the companion answers.
    pub model: Option<Model>,
    /// Second opinion on messages, if one is configured.
    pub guard: Option<Guard>,
    pub context: Context,
    /// The other cores, if `REDIS_URL` is set.
    pub cluster: Option<Arc<Cluster>>,
    pub summarizer: Summarizer,
    pub referrals: Referrals,
    pub metrics: Arc<Metrics>,
}

/// A message before admission.
#[derive(Debug, Clone)]
pub struct Message {
    /// Idempotency key within the session.
    pub id: MessageId,
    pub text: UserText,
    pub trace: Traceparent,
    /// Client subnet, for the limits per address.
    pub from: ClientSubnet,
    /// Risk in force with it.
    pub risk: Risk,
}

/// Rejection of a message or a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRejection {
    /// Error code for the client.
    pub code: ErrorCode,
    /// Delay before a retry; `None` if a retry cannot help.
    pub retry_after: Option<Duration>,
}

/// An accepted message without an answer.
#[derive(Debug, Clone)]
pub struct PendingTurn {
    pub id: MessageId,
    /// Its label in logs and in the model's HTTP headers.
    pub label: MessageLabel,
    pub seq: u64,
    pub text: UserText,
    /// Language to answer in.
    pub language: Language,
    pub trace: Traceparent,
    /// Time of its admission, from which durations count.
    pub accepted_at: Instant,
    /// This core's claim to it; `None` without a cluster.
    pub claim: Option<ClaimNumber>,
    /// Risk in force when it was accepted.
    pub risk: Risk,
    /// Risk of the message alone.
    pub message_risk: MessageRisk,
    /// Emergency number of the person's country; only the companion says it.
    pub emergency: Option<String>,
    /// Country that the person chose.
    pub country: Option<Country>,
}

#[cfg(test)]
impl PendingTurn {
    /// Message `number` of a person, stored at `seq`.
    fn sample(seq: u64, number: u64) -> Self {
        Self {
            id: "now".parse().expect("an id"),
            label: MessageLabel { user: protocol::UserLabel(1), number },
            seq,
            text: UserText::new("now"),
            language: Language::English,
            trace: Traceparent::random(),
            accepted_at: Instant::now(),
            claim: None,
            risk: Risk::default(),
            message_risk: MessageRisk::default(),
            emergency: None,
            country: None,
        }
    }
}

/// Receives the answer's deltas. Implementations must not block.
pub trait AnswerSink: Send + Sync {
    /// The turn waits for a model slot behind `ahead` others.
    fn queued(&self, ahead: usize);
    /// The turn has its model slot.
    fn started(&self);
    /// The next text of the answer, and the exercise that it offers or continues.
    fn delta(&self, piece: UserText, exercise: Option<Exercise>);
    /// Discards the deltas so far: the next one is the answer's first.
    fn restart(&self);
    /// A second opinion has raised the risk to this.
    fn risk_raised(&self, risk: Risk);
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Reason of its end.
    pub finish: Finish,
    /// Model or companion.
    pub source: Source,
    /// Name of the model, by the provider.
    pub model: Option<String>,
    /// Its length in characters.
    pub chars: usize,
    /// Durations in milliseconds.
    pub timing: Timing,
    /// Tokens by the provider's count.
    pub usage: Option<Usage>,
    /// Exercise that it offers or continues.
    pub exercise: Option<Exercise>,
    /// Summary to make after it; see [`TurnService::summarize`].
    pub summary_job: Option<SummaryJob>,
}

impl MessageRejection {
    /// The person has the most messages in flight.
    pub fn busy() -> Self {
        Self { code: ErrorCode::UserBusy, retry_after: Some(BUSY_RETRY) }
    }

    /// The rate limit of the person or of their address is reached.
    pub fn limited(wait: Duration) -> Self {
        Self { code: ErrorCode::RateLimited, retry_after: Some(wait) }
    }

    /// The core that was to answer is gone, or its answer was superseded; a retry gets one.
    pub fn abandoned() -> Self {
        Self { code: ErrorCode::Unavailable, retry_after: Some(BUSY_RETRY) }
    }

    /// Returns true if a limit rejects, and not a fault.
    pub fn is_limit(self) -> bool {
        matches!(self.code, ErrorCode::RateLimited | ErrorCode::UserBusy | ErrorCode::Overloaded)
    }

    /// Builds the error frame in `language`.
    pub fn frame(self, language: Language) -> ErrorFrame {
        let frame = ErrorFrame::new(self.code, language);
        match self.retry_after {
            Some(after) => frame.with_retry_after(after, language),
            None => frame,
        }
    }
}

/// The queue for the model is full.
impl From<LimiterSaturated> for MessageRejection {
    fn from(full: LimiterSaturated) -> Self {
        Self { code: ErrorCode::Overloaded, retry_after: Some(full.retry_after) }
    }
}

/// A store error, as the client gets it.
impl From<&StoreError> for MessageRejection {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::NoSession { .. } => Self { code: ErrorCode::BadResume, retry_after: None },
            StoreError::Unavailable(_) => Self { code: ErrorCode::Unavailable, retry_after: Some(BUSY_RETRY) },
            StoreError::Damaged(_) | StoreError::UnknownKey(_) => Self { code: ErrorCode::Internal, retry_after: None },
        }
    }
}

/// Error of a turn without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnError {
    /// No model slot became free in time, or the store failed.
    Rejected(MessageRejection),
    /// The session was erased, or its retention expired.
    NoSession,
}

impl From<MessageRejection> for TurnError {
    fn from(rejection: MessageRejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// Returns calendar time, for entries and sessions.
#[expect(clippy::disallowed_methods, reason = "the edge: entries carry calendar time")]
pub fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}
