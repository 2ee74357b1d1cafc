//! Messages, turns and rejections.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use protocol::server_frame::ErrorFrame;
use protocol::trace::Traceparent;
use protocol::{Country, ErrorCode, Language, MessageId, MessageLabel, UserText};
use safety::{Assessment, Context, Kinds, Level, Subject, companion};

/// `retry_after` for a person with too many messages in flight: about the duration of an answer.
const BUSY_RETRY: Duration = Duration::from_secs(2);

/// A submitted message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Idempotency key within the session.
    pub id: MessageId,
    /// Its text.
    pub text: UserText,
    /// Its trace.
    pub trace: Traceparent,
    /// Address of the client, for the limits per address.
    pub address: IpAddr,
    /// Risk in force with it.
    pub risk: Risk,
}

/// An accepted message without an answer.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The message.
    pub message: Message,
    /// Its label in logs and in the model's HTTP headers.
    pub label: MessageLabel,
    /// Its `seq`.
    pub seq: u64,
    /// Language to answer in.
    pub language: Language,
    /// Time of its admission, from which durations count.
    pub accepted_at: Instant,
    /// Risk of the message alone.
    pub message_risk: MessageRisk,
    /// Emergency number of the person's country; only the companion says it.
    pub emergency: Option<String>,
    /// Country that the person chose.
    pub country: Option<Country>,
}

/// Risk in force in a conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Risk {
    /// Level in force.
    pub level: Level,
    /// Kinds found since there is a level.
    pub kinds: Kinds,
    /// Subject of the risk: the person, or somebody else.
    pub subject: Subject,
    /// The person has said that they are a minor.
    pub minor: bool,
    /// The level was high a short time ago, or a safety plan is in progress.
    pub follows_high: bool,
}

impl Risk {
    /// Returns true at `high` and `imminent`.
    pub fn is_high(self) -> bool {
        Level::High <= self.level
    }

    /// Returns true if a message must not be rejected for a limit: at high risk and shortly after it, because a level
    /// falls in the middle of a conversation about it.
    pub fn must_be_answered(self) -> bool {
        self.is_high() || self.follows_high
    }
}

/// Risk of one message, assessed on arrival in the context of those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageRisk {
    /// Level of the message.
    pub level: Level,
    /// Kinds of risk, also without a level.
    pub kinds: Kinds,
    /// Subject of the risk: the person, or somebody else.
    pub subject: Subject,
    /// The message says good-bye.
    pub takes_leave: bool,
}

impl MessageRisk {
    /// Combines `assessment` with a check of `text` for a good-bye.
    pub fn of(assessment: &Assessment, text: &str) -> Self {
        let Assessment { level, kinds, subject, .. } = *assessment;
        Self { level, kinds, subject, takes_leave: companion::takes_leave(text) }
    }

    /// Assesses `text` without context, for a message whose assessment was evicted.
    pub fn alone(text: &str) -> Self {
        Self::of(&safety::assess(&Context::default(), text), text)
    }
}

/// Rejection of a message or a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRejection {
    /// Error code for the client.
    pub code: ErrorCode,
    /// Delay before a retry; `None` if a retry cannot help.
    pub retry_after: Option<Duration>,
}

impl MessageRejection {
    /// A retry with the same input cannot help.
    pub fn permanent(code: ErrorCode) -> Self {
        Self { code, retry_after: None }
    }

    /// The person has the most messages in flight.
    pub fn busy() -> Self {
        Self { code: ErrorCode::UserBusy, retry_after: Some(BUSY_RETRY) }
    }

    /// The rate limit of the person or of their address is reached.
    pub fn limited(wait: Duration) -> Self {
        Self { code: ErrorCode::RateLimited, retry_after: Some(wait) }
    }

    /// The store is unavailable.
    pub fn unavailable() -> Self {
        Self { code: ErrorCode::Unavailable, retry_after: Some(BUSY_RETRY) }
    }

    /// The core that was to answer is gone, or its answer was superseded; a retry gets one.
    pub fn abandoned() -> Self {
        Self::unavailable()
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

/// Failed operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The store no longer has the session.
    NoSession,
    /// Any other error, as the client gets it.
    Rejected(MessageRejection),
}
