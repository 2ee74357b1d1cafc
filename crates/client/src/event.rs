//! Events of a client.

use std::time::Duration;

use protocol::server_frame::{
    Done, Entry, ErrorFrame, Exercise, Finish, NoticeCode, Source, Support, Timing, Usage, Welcome,
};
use protocol::{MessageId, UserText};
use serde::{Serialize, Serializer};

/// Event of a conversation.
///
/// Each stored entry of the session is delivered exactly once, in `seq` order: as
/// [`Event::Turn`], or by the event that stands for it ([`Event::Accepted`] for an own message,
/// [`Event::Support`], [`Event::Done`] for a streamed answer). Across reconnects, the texts of an
/// answer's [`Event::Delta`]s, joined since its last [`Event::Restarted`], equal the answer at
/// its [`Event::Done`].
///
/// Serializes to an object with a `type`; server frames keep the fields of
/// `proto-line/SPEC.md` §4. `Debug` omits texts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The session is open, for the first time or after a reconnect. `resumed`: an earlier
    /// session continues; `missed`: number of entries not replayed (request the history);
    /// `resume`: the token to store for the next start.
    Connected(Box<Welcome>),
    /// The server knows neither the session to resume nor an earlier one; a new one begins.
    SessionLost,
    /// The server does not know the session to resume; an earlier one continues.
    EarlierSession,
    /// A stored entry without another event: written before this client connected, or on
    /// another device.
    Turn(Entry),
    /// An own message is stored and will be answered.
    Accepted {
        /// The message.
        id: MessageId,
        /// Its sequence number.
        seq: u64,
    },
    /// An own message waits for the model.
    Queued {
        /// The message.
        id: MessageId,
        /// Number of messages before it in the queue.
        ahead: usize,
    },
    /// A message, own or not, was erased with its help and its answer: nothing of it may be shown any more.
    Forgotten {
        /// The message.
        id: MessageId,
    },
    /// Help for a person at risk. Must be shown at once and in full.
    Support(Support),
    /// Text to append to an answer.
    Delta {
        /// The message answered, own or of another device.
        id: MessageId,
        /// Length of the text before it, in Unicode scalar values.
        offset: usize,
        /// The text.
        text: UserText,
    },
    /// The text of this answer so far is void: the server lost it and generates another one.
    Restarted {
        /// The message answered.
        id: MessageId,
    },
    /// An answer is complete.
    Done(Answered),
    /// An own message failed. Without a preceding `Accepted` it was not stored: the same id may
    /// be sent again, after `retry_after_ms` if present.
    Refused(ErrorFrame),
    /// An own message was refused with a retryable code; the client resends it after the delay
    /// ([`Builder::send_attempts`](crate::Builder::send_attempts)).
    Deferred {
        /// The server's error.
        #[serde(flatten)]
        error: ErrorFrame,
        /// Delay before the next attempt, without jitter.
        #[serde(rename = "in_ms", serialize_with = "milliseconds")]
        after: Duration,
    },
    /// Another error of the server; the conversation continues.
    Error(ErrorFrame),
    /// The server is draining, and the client reconnects by itself; or a text to show.
    Notice {
        /// Kind of notice.
        code: NoticeCode,
        /// Text to show.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// Delay after which to reconnect, in milliseconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        reconnect_in_ms: Option<u64>,
    },
    /// The connection was lost; the client reconnects by itself.
    Reconnecting {
        /// Delay before the attempt.
        #[serde(rename = "in_ms", serialize_with = "milliseconds")]
        after: Duration,
        /// Number of the attempt since the last stable connection, from 1.
        attempt: u32,
        /// Reason of the loss.
        why: String,
    },
    /// The conversation is over; no more events follow.
    Closed {
        /// Final condition.
        #[serde(flatten)]
        reason: Closed,
    },
}

/// End of an answer, as in `done`. An answer completed while offline lacks the fields that the
/// server does not store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "SPEC.md §4")]
pub struct Answered {
    pub id: MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    pub finish: Finish,
    pub source: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub chars: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<Timing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exercise: Option<Exercise>,
}

impl From<Done> for Answered {
    fn from(done: Done) -> Self {
        let Done { id, seq, finish, source, model, chars, ms, usage, exercise } = done;
        Self { id, seq, finish, source, model, chars, ms: Some(ms), usage, exercise }
    }
}

impl Answered {
    /// Builds the end from a stored answer.
    pub(crate) fn stored(entry: &Entry) -> Self {
        Self {
            id: entry.id.clone(),
            seq: Some(entry.seq),
            finish: entry.finish.unwrap_or(Finish::Stop),
            source: entry.source.unwrap_or(Source::Llm),
            model: None,
            chars: entry.text.chars(),
            ms: None,
            usage: None,
            exercise: None,
        }
    }
}

/// Final condition of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Closed {
    /// This client sent `bye`.
    #[error("the client left")]
    Bye,
    /// This client erased the session.
    #[error("the session was erased")]
    Erased,
    /// The server ended the session: it was erased or left on another device.
    #[error("the server ended the conversation")]
    Ended,
    /// The session to resume is unknown or erased.
    #[error("{}", .error.message)]
    BadResume {
        /// The server's error.
        error: Box<ErrorFrame>,
    },
    /// The server refused this client for good.
    #[error("{why}")]
    Refused {
        /// Reason as text.
        why: String,
        /// The server's error, if it sent one.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Box<ErrorFrame>>,
    },
    /// All allowed attempts to connect failed.
    #[error("{why}")]
    #[serde(rename = "gave_up")]
    Unreachable {
        /// Reason of the last failure.
        why: String,
    },
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
