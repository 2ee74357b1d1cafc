//! Frames the server sends (`proto-line/SPEC.md` §4, §5).

mod about;
mod response;
mod safety_plan;

use std::fmt;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error_code::ErrorCode;
use crate::ids::{MessageId, SessionId, UserLabel};
use crate::locale::{Language, Locale};
use crate::text::UserText;
use crate::timestamp::Timestamp;
use crate::trace::TraceId;
pub use about::{About, ModelHost};
pub use response::ResponseResult;
pub use safety_plan::{PlanStep, SafetyPlan};

/// Frame from the server to a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "SPEC.md §4 says what each frame and field means")]
pub enum ServerFrame {
    Welcome(Box<Welcome>),
    Turn(Entry),
    Accepted {
        id: MessageId,
        seq: u64,
        trace_id: TraceId,
    },
    Queued {
        id: MessageId,
        ahead: usize,
    },
    Support(Box<Support>),
    Delta {
        id: MessageId,
        offset: usize,
        text: UserText,
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
        exercise: Option<Exercise>,
    },
    Done(Box<Done>),
    Response {
        id: MessageId,
        result: ResponseResult,
    },
    Forgotten(Forgotten),
    Error(ErrorFrame),
    Notice {
        code: NoticeCode,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reconnect_in_ms: Option<u64>,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<MessageId>,
    },
}

impl ServerFrame {
    /// Appends the frame and its LF to `out`.
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use protocol::{MessageId, ServerFrame, UserText};
    ///
    /// let id: MessageId = "m1".parse().unwrap();
    /// let mut line = BytesMut::new();
    /// ServerFrame::Delta { id, offset: 0, text: UserText::new("ho"), exercise: None }.encode_line(&mut line);
    /// assert_eq!(&line[..], b"{\"type\":\"delta\",\"id\":\"m1\",\"offset\":0,\"text\":\"ho\"}\n");
    /// ```
    pub fn encode_line(&self, out: &mut BytesMut) {
        serde_json::to_writer((&mut *out).writer(), self)
            .expect("frames have string keys and a BytesMut grows: nothing to fail on");
        out.put_u8(b'\n');
    }
}

/// The answer to `hello`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// Version of the protocol.
    pub v: u64,
    /// The session's public id.
    pub session: SessionId,
    /// The person's label.
    pub user: UserLabel,
    /// Secret that resumes the session.
    pub resume: UserText,
    /// An earlier session continues.
    pub resumed: bool,
    /// Highest stored `seq`.
    pub seq: u64,
    /// Number of entries after `since` that are not replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// Locale in use.
    pub locale: Locale,
    /// The connection's trace.
    pub trace_id: TraceId,
    /// Limits in force.
    pub limits: Limits,
    /// `false`: the session is not stored.
    #[serde(default = "kept", skip_serializing_if = "is_kept")]
    pub kept: bool,
}

fn kept() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_kept(kept: &bool) -> bool {
    *kept
}

/// Limits that `welcome` announces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Longest client line, in bytes.
    pub max_line_bytes: usize,
    /// Longest message, in Unicode scalar values.
    pub max_text_chars: usize,
    /// Rate limit of messages.
    pub rate: Rate,
}

/// Rate limit that `welcome` announces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Messages a person may send within the window.
    pub messages: usize,
    /// Length of the window, in milliseconds.
    pub window_ms: u64,
}

/// A stored entry of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the session, from 1 without gaps.
    pub seq: u64,
    /// Id of the message that it is or belongs to.
    pub id: MessageId,
    /// Its author.
    pub role: Role,
    /// Its text.
    pub text: UserText,
    /// Time at which it was stored.
    pub at: Timestamp,
    /// End of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// Origin of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Help that was shown; only with [`Role::Support`].
    #[serde(flatten)]
    pub help: Option<Box<Help>>,
}

/// The `forgotten` frame: a message was erased with its help and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// Position of the erasure itself in the session.
    pub seq: u64,
    /// The message; every entry with this id is gone.
    pub id: MessageId,
    /// `seq` of the first of these entries.
    pub from_seq: u64,
}

/// Author of an [`Entry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "SPEC.md §4")]
pub enum Role {
    User,
    Assistant,
    Support,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// End of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model completed its answer.
    Stop,
    /// The answer reached a limit on its length.
    Length,
    /// The person stopped it.
    Stopped,
    /// The model failed mid-answer.
    Error,
}

impl fmt::Display for Finish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Origin of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A language model.
    Llm,
    /// The built-in companion.
    Companion,
    /// The companion, in place of the rest of a model's answer that was stopped.
    Screened,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The `support` frame: help for a person at risk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Support {
    /// The message that calls for help.
    pub id: MessageId,
    /// Its `seq` in the store; `None` while it is not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Text for the person, above the resources.
    pub text: UserText,
    /// Risk and resources.
    #[serde(flatten)]
    pub help: Help,
}

/// Fields that `support` frames and stored `support` entries share, besides the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Help {
    /// For the client's choice of form; never shown to the person.
    pub level: Level,
    /// The person at risk.
    #[serde(default, deserialize_with = "lenient")]
    pub subject: Subject,
    /// The most urgent kind of risk; `None` where it has no name here.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub kind: Option<Kind>,
    /// Places to get help, the most fitting first.
    pub resources: Vec<Resource>,
}

/// Gravity of a sign of risk, rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "SPEC.md §4")]
pub enum Level {
    Concern,
    High,
    Imminent,
}

/// The person at risk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The person who writes, also where the text leaves it open.
    #[default]
    #[serde(rename = "self")]
    Own,
    /// Somebody else.
    Other,
}

/// Kinds of risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "SPEC.md §4")]
pub enum Kind {
    Suicide,
    SelfHarm,
    Abuse,
    SexualViolence,
    Eating,
    HarmToOthers,
    Medical,
    Substance,
}

/// Exercises that a client may render.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "SPEC.md §4")]
pub enum Exercise {
    BreathLong,
    BreathBox,
    Grounding,
    SmallStep,
    ReachOut,
    SafetyPlan,
}

impl fmt::Display for Exercise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A place to get help.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "SPEC.md §4")]
pub struct Resource {
    pub name: String,
    pub contact: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms: Option<Sms>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whatsapp: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// As text: later servers may have more kinds.
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub country: String,
    pub region: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<String>,
    pub hours: String,
    #[serde(default)]
    pub languages: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<String>,
}

/// A number to send a text message to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sms {
    /// The number.
    pub to: String,
    /// Key word to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// Deserializes a value of which later servers may know more: an unknown one counts as absent.
fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Known<T> {
        Yes(T),
        No(IgnoredAny),
    }
    Ok(match Known::deserialize(deserializer)? {
        Known::Yes(value) => value,
        Known::No(IgnoredAny) => T::default(),
    })
}

/// The `done` frame: end of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The message answered.
    pub id: MessageId,
    /// The answer's `seq`; `None` when no answer was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Its end.
    pub finish: Finish,
    /// Its origin.
    pub source: Source,
    /// Name of the model that generated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Length in Unicode scalar values.
    pub chars: usize,
    /// Durations.
    pub ms: Timing,
    /// Tokens the provider counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Exercise that the answer offers or goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub exercise: Option<Exercise>,
}

/// Durations of an answer, in milliseconds since the message was accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Until the model had capacity.
    pub queue: u64,
    /// Until the first delta.
    pub first: u64,
    /// Until its end.
    pub total: u64,
}

/// Tokens the provider counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "names of the OpenAI API")]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

/// An `error` frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorFrame {
    /// Its code.
    pub code: ErrorCode,
    /// Message for the person.
    pub message: String,
    /// The frame it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// Delay before a retry, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Trace to quote when asking for help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
}

impl ErrorFrame {
    /// Returns an error with its message in `language`.
    pub fn new(code: ErrorCode, language: Language) -> Self {
        Self { code, message: code.message(language, None), id: None, retry_after_ms: None, trace_id: None }
    }

    /// Returns it as the error of frame `id`.
    #[must_use]
    pub fn with_id(self, id: Option<MessageId>) -> Self {
        Self { id, ..self }
    }

    /// Returns it with the delay before a retry, in the field and in the message, rounded up.
    #[must_use]
    pub fn with_retry_after(self, after: Duration, language: Language) -> Self {
        let message = self.code.message(language, Some(after));
        // Rounded up: a retry one millisecond early would be rejected again.
        let after_ms = u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self { message, retry_after_ms: Some(after_ms), ..self }
    }

    /// Returns it with a trace to quote.
    #[must_use]
    pub fn with_trace(self, trace_id: TraceId) -> Self {
        Self { trace_id: Some(trace_id), ..self }
    }
}

/// Codes of `notice` frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeCode {
    /// The server is going away.
    Draining,
    /// Answers come from an artificial intelligence, not from a person.
    Ai,
}
