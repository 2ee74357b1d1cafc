//! One message from admission to stored answer: limits, context, model, store.
//!
//! Turns must not depend on connections: an answer goes to an [`AnswerSink`].

mod admission;
mod answer;
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
mod summarizer;

use std::sync::Arc;

use cluster::Cluster;
use limits::{ConcurrencyLimiter, LimiterSaturated};
use llm::Model;
use protocol::{ErrorCode, Timestamp};
use session::{Failure, MessageRejection, TurnEvent};
use store::{Store, StoreError};

use crate::guard::Guard;
use crate::metrics::Metrics;

pub use budget::{Attempt, AttemptKind, Budget, BudgetSettings, Permit};
pub use context::{Context, ContextSettings};
pub use record::{Concluded, RECORD_TIMEOUT, TurnControl};
pub use referrals::Referrals;
pub use summarizer::{Summarizer, SummaryJob, SummarySettings};

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

/// Receives the events of a turn until its answer is generated. Implementations must not block.
pub trait AnswerSink: Send + Sync {
    fn on(&self, event: TurnEvent);
}

/// The queue for the model is full.
fn overloaded(full: LimiterSaturated) -> MessageRejection {
    MessageRejection { code: ErrorCode::Overloaded, retry_after: Some(full.retry_after) }
}

/// Maps a store error to the error that the client gets.
pub fn store_rejection(error: &StoreError) -> MessageRejection {
    match error {
        StoreError::NoSession { .. } => MessageRejection::permanent(ErrorCode::BadResume),
        StoreError::Unavailable(_) => MessageRejection::unavailable(),
        StoreError::Damaged(_) | StoreError::UnknownKey(_) => MessageRejection::permanent(ErrorCode::Internal),
    }
}

/// Maps a store error to the failure of an operation of a session.
pub fn store_failure(error: &StoreError) -> Failure {
    match error {
        StoreError::NoSession { .. } => Failure::NoSession,
        error => Failure::Rejected(store_rejection(error)),
    }
}

/// Returns calendar time, for entries and sessions.
#[expect(clippy::disallowed_methods, reason = "the edge: entries carry calendar time")]
pub fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

#[cfg(test)]
mod tests {
    use protocol::trace::Traceparent;
    use protocol::{Language, MessageLabel, UserLabel, UserText};
    use session::{Message, MessageRisk, Risk, Turn};

    /// Returns the turn of message `number` of a person, stored at `seq`.
    pub(super) fn sample_turn(seq: u64, number: u64) -> Turn {
        let message = Message {
            id: "now".parse().unwrap(),
            text: UserText::new("now"),
            trace: Traceparent::random(),
            address: [127, 0, 0, 1].into(),
            risk: Risk::default(),
        };
        Turn {
            message,
            label: MessageLabel { user: UserLabel(1), number },
            seq,
            language: Language::English,
            accepted_at: tokio::time::Instant::now().into_std(),
            message_risk: MessageRisk::default(),
            emergency: None,
            country: None,
        }
    }
}
