//! One message from admission to stored answer: limits, context, model, store.
//!
//! It knows nothing of connections: who listens is an [`AnswerSink`].

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

use boot::ClientSubnet;
use protocol::server_frame::{ErrorFrame, Exercise, Finish, Source, Timing, Usage};
use protocol::trace::Traceparent;
use protocol::{ErrorCode, Language, MessageId, MessageLabel, Timestamp, UserText};
use tokio::time::Instant;

use crate::cluster::{ClaimNumber, Cluster};
use crate::guard::Guard;
use crate::limits::{ConcurrencyLimiter, LimiterSaturated};
use crate::llm::Model;
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};

pub use admission::Admission;
pub use budget::{AnswerOwner, Attempt, AttemptKind, Budget, BudgetSettings, Permit};
pub use context::{Context, ContextSettings};
pub use record::{RECORD_TIMEOUT, RecordError};
pub use referrals::Referrals;
pub use risk::{MessageRisk, Risk};
pub use summarizer::{Summarizer, SummaryJob, SummarySettings};

/// When someone with too many messages under way may try again: about as long as an answer takes.
const BUSY_RETRY: Duration = Duration::from_secs(2);

/// What turns need; shared by all of them.
#[derive(Debug)]
pub struct TurnService {
    /// Sessions and entries.
    pub store: Arc<dyn Store>,
    /// Admits everything that leads to a call to the model.
    pub budget: Budget,
    /// Model calls at once.
    pub slots: Arc<ConcurrencyLimiter>,
    /// The model; without one the companion answers.
    pub model: Option<Model>,
    /// A second opinion on what people write, where one is configured.
    pub guard: Option<Guard>,
    /// What the model gets to read.
    pub context: Context,
    /// The other cores, where there are any.
    pub cluster: Option<Arc<Cluster>>,
    /// What is being summed up.
    pub summarizer: Summarizer,
    /// How often help was shown.
    pub referrals: Referrals,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Message {
    /// Idempotency key within the session.
    pub id: MessageId,
    /// What the person wrote.
    pub text: UserText,
    /// Where it stands in its trace.
    pub trace: Traceparent,
    /// Where it came from.
    pub from: ClientSubnet,
    /// Risk in force with it.
    pub risk: Risk,
}

/// Why a message gets no answer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRejection {
    /// What to tell the client.
    pub code: ErrorCode,
    /// When to try again, where that makes sense.
    pub retry_after: Option<Duration>,
}

/// An accepted message that waits for its answer.
#[derive(Debug, Clone)]
pub struct PendingTurn {
    /// The message's id.
    pub id: MessageId,
    /// Its label in logs and towards the model.
    pub label: MessageLabel,
    /// Its `seq`.
    pub seq: u64,
    /// What the person wrote.
    pub text: UserText,
    /// Language to answer in.
    pub language: Language,
    /// Where it stands in its trace.
    pub trace: Traceparent,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// This core's claim to it, where there are other cores.
    pub claim: Option<ClaimNumber>,
    /// Risk in force when it was accepted.
    pub risk: Risk,
    /// What the message itself says of risk.
    pub message_risk: MessageRisk,
    /// Emergency number of the person's country, which only the companion says.
    pub emergency: Option<String>,
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
        }
    }
}

/// Whoever follows an answer. Neither call blocks.
pub trait AnswerSink: Send + Sync {
    /// The answer waits for a model slot behind `ahead` others.
    fn queued(&self, ahead: usize);
    /// The answer has its model slot.
    fn started(&self);
    /// The next piece of the answer, and the exercise that it offers or goes on with.
    fn delta(&self, piece: UserText, exercise: Option<Exercise>);
    /// The pieces so far are no part of the answer: the next one is its first.
    fn restart(&self);
    /// A second opinion finds the message graver than it was taken for: this is the risk now.
    fn risk_raised(&self, risk: Risk);
}

/// How an answer went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub finish: Finish,
    /// Where it came from.
    pub source: Source,
    /// The model that gave it.
    pub model: Option<String>,
    /// Its length.
    pub chars: usize,
    /// How long it took.
    pub timing: Timing,
    /// Tokens counted.
    pub usage: Option<Usage>,
    /// Exercise that it offers or goes on with.
    pub exercise: Option<Exercise>,
    /// What is to be summed up now that it is complete: see [`TurnService::fold`].
    pub summary_job: Option<SummaryJob>,
}

impl MessageRejection {
    /// The person has as many messages under way as they may.
    pub fn busy() -> Self {
        Self { code: ErrorCode::UserBusy, retry_after: Some(BUSY_RETRY) }
    }

    /// The person or their address has sent as much as they may.
    pub fn limited(wait: Duration) -> Self {
        Self { code: ErrorCode::RateLimited, retry_after: Some(wait) }
    }

    /// Whoever was to answer is gone.
    pub fn abandoned() -> Self {
        Self { code: ErrorCode::Unavailable, retry_after: Some(BUSY_RETRY) }
    }

    /// Tells whether a limit refuses, and not a fault.
    pub fn is_limit(self) -> bool {
        matches!(self.code, ErrorCode::RateLimited | ErrorCode::UserBusy | ErrorCode::Overloaded)
    }

    /// As an error in `language`.
    pub fn frame(self, language: Language) -> ErrorFrame {
        let frame = ErrorFrame::new(self.code, language);
        match self.retry_after {
            Some(after) => frame.with_retry_after(after, language),
            None => frame,
        }
    }
}

/// What people are told when too many wait for the model.
impl From<LimiterSaturated> for MessageRejection {
    fn from(full: LimiterSaturated) -> Self {
        Self { code: ErrorCode::Overloaded, retry_after: Some(full.retry_after) }
    }
}

/// What people are told when the store fails.
impl From<&StoreError> for MessageRejection {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::NoSession { .. } => Self { code: ErrorCode::BadResume, retry_after: None },
            StoreError::Unavailable(_) => Self { code: ErrorCode::Unavailable, retry_after: Some(BUSY_RETRY) },
            StoreError::Damaged(_) | StoreError::UnknownKey(_) => Self { code: ErrorCode::Internal, retry_after: None },
        }
    }
}

/// Why a message has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnError {
    /// No model slot was free in time, or the store failed.
    Rejected(MessageRejection),
    /// The session was erased, or its time was over.
    NoSession,
}

impl From<MessageRejection> for TurnError {
    fn from(rejection: MessageRejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// Calendar time, for entries and sessions.
#[expect(clippy::disallowed_methods, reason = "the edge: entries carry calendar time")]
pub fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}
