//! What a client is told.

use std::time::Duration;

use protocol::server_frame::{
    Done, Entry, ErrorFrame, Exercise, Finish, NoticeCode, Source, Support, Timing, Usage, Welcome,
};
use protocol::{MessageId, UserText};
use serde::{Serialize, Serializer};

/// What happened.
///
/// Each stored entry of the session is told exactly once, in the order of its `seq`: as
/// [`Event::Turn`], or by the event that stands for it ([`Event::Accepted`] for an own message,
/// [`Event::Support`], [`Event::Done`] for an answer that was told piece by piece). Whatever
/// the connections do, the texts of an answer's [`Event::Delta`]s, joined since its last
/// [`Event::Restarted`], are the answer when its [`Event::Done`] comes.
///
/// Serialized, an event is an object with a `type`; those of the server have the fields of
/// `proto-line/SPEC.md` §4. Texts do not show in `Debug`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The session is open, for the first time or again. `resumed` says whether an earlier
    /// session goes on, `missed` how many entries are not told (ask for the history),
    /// `resume` is the secret to keep for the next start.
    Connected(Box<Welcome>),
    /// The server does not know the session to be resumed, nor an earlier one, and another one begins.
    SessionLost,
    /// The server does not know the session to be resumed, and an earlier one goes on.
    EarlierSession,
    /// A stored entry that was not told in another way: written before this client came, or
    /// on another device.
    Turn(Entry),
    /// An own message is stored and will be answered.
    Accepted {
        /// The message.
        id: MessageId,
        /// Where it is stored.
        seq: u64,
    },
    /// An own message waits for the model.
    Queued {
        /// The message.
        id: MessageId,
        /// How many wait before it.
        ahead: usize,
    },
    /// Help for a person at risk. To be shown at once, and whole.
    Support(Support),
    /// The next piece of an answer, to be appended to what was told of it.
    Delta {
        /// The message answered, own or of another device.
        id: MessageId,
        /// Unicode scalar values of the answer told before.
        offset: usize,
        /// The piece.
        text: UserText,
    },
    /// What was told of this answer is void: the server lost it and began another one.
    Restarted {
        /// The message answered.
        id: MessageId,
    },
    /// An answer is complete.
    Done(Answered),
    /// An own message has no answer and will get none. Before `Accepted` it was not stored:
    /// the same id may be sent again, after `retry_after_ms` where there is one.
    Refused(ErrorFrame),
    /// An own message is refused for now; the client sends it again after this time
    /// ([`Builder::tries`](crate::Builder::tries)).
    Deferred {
        /// What the server said.
        #[serde(flatten)]
        error: ErrorFrame,
        /// After how long, without the jitter.
        #[serde(rename = "in_ms", serialize_with = "milliseconds")]
        after: Duration,
    },
    /// Something else went wrong on the server; the conversation goes on.
    Error(ErrorFrame),
    /// The server is going away, and the client reconnects by itself; or a text that is to be shown.
    Notice {
        /// Why.
        code: NoticeCode,
        /// What is to be shown.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// When it is to come back.
        #[serde(skip_serializing_if = "Option::is_none")]
        reconnect_in_ms: Option<u64>,
    },
    /// There is no connection; the next attempt comes by itself.
    Reconnecting {
        /// After how long.
        #[serde(rename = "in_ms", serialize_with = "milliseconds")]
        after: Duration,
        /// Which attempt it will be since the last good connection, from 1.
        attempt: u32,
        /// Why there is none.
        why: String,
    },
    /// It is over; no more events come.
    Closed {
        /// Why.
        #[serde(flatten)]
        reason: Closed,
    },
}

/// The end of an answer, as in `done`. What the server does not know any more of an answer
/// that ended while this client was away is absent.
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
    /// What a stored answer says of its end.
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

/// Why a conversation is over for this client.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Closed {
    /// This client said good-bye.
    #[error("the client left")]
    Bye,
    /// The session was erased by this client.
    #[error("the session was erased")]
    Erased,
    /// The server ended it: it was erased on another device, or someone there said good-bye.
    #[error("the server ended the conversation")]
    Ended,
    /// The session to be resumed is unknown or erased.
    #[error("{}", .error.message)]
    BadResume {
        /// What the server said.
        error: Box<ErrorFrame>,
    },
    /// The server does not let this client in, and would not later either.
    #[error("{why}")]
    Refused {
        /// Why, in words.
        why: String,
        /// What the server said, if it said something.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Box<ErrorFrame>>,
    },
    /// As many attempts to connect have failed as were allowed.
    #[error("{why}")]
    GaveUp {
        /// Why the last one failed.
        why: String,
    },
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
