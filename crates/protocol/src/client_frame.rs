//! Frames a client sends (`proto-line/SPEC.md` §3).

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::error_code::ErrorCode;
use crate::ids::MessageId;
use crate::limits;
use crate::locale::Locale;
use crate::text::UserText;

/// A well-formed client frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// Opens or resumes a session.
    Hello(Hello),
    /// A message for the companion.
    Message {
        /// Idempotency key within the session.
        id: MessageId,
        /// 1 to [`limits::MAX_TEXT_CHARS`] characters, not all white space.
        text: UserText,
    },
    /// Ends the generation of message `id`; what there is of it is kept.
    Stop {
        /// The message whose answer is to stop.
        id: MessageId,
    },
    /// A question about the session.
    Request(Request),
    /// Answered by `pong`.
    Ping {
        /// Comes back with the `pong`.
        id: Option<MessageId>,
    },
    /// The server closes.
    Bye,
}

/// Fields of `hello`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Hello {
    /// Version of the protocol the client speaks.
    pub v: u64,
    /// Resume token as text: a malformed one is `bad_resume`, not `bad_frame`.
    pub resume: Option<UserText>,
    /// Last `seq` the client holds; `None` replays nothing.
    pub since: Option<u64>,
    /// Language the person wants.
    pub locale: Option<Locale>,
    /// Name of the client program.
    pub client: Option<UserText>,
    /// Credential of the person.
    pub auth: Option<UserText>,
}

/// Fields of `request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Comes back with the response.
    pub id: MessageId,
    /// What is asked.
    pub method: String,
    /// Its parameters; an empty object when absent.
    pub params: serde_json::Map<String, Value>,
    /// How long the client waits.
    pub timeout: Duration,
}

/// Why a line is not a [`ClientFrame`], with the id it named if that much could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What to answer.
    pub code: ErrorCode,
    /// The id to answer to.
    pub id: Option<MessageId>,
}

/// The part of a line that decides what it is.
#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    id: Value,
}

#[derive(Deserialize)]
struct WithId {
    id: MessageId,
}

#[derive(Deserialize)]
struct WithOptionalId {
    id: Option<MessageId>,
}

#[derive(Deserialize)]
struct MessageFields {
    id: MessageId,
    text: UserText,
}

#[derive(Deserialize)]
struct RequestFields {
    id: MessageId,
    method: String,
    #[serde(default)]
    params: serde_json::Map<String, Value>,
    timeout_ms: Option<u64>,
}

impl ClientFrame {
    /// Reads one line.
    ///
    /// # Errors
    ///
    /// `unknown_type` for an object of another type, `text_too_long` for a message over
    /// the limit, `bad_frame` for everything else that is not a frame.
    pub fn parse(line: &str) -> Result<Self, Rejection> {
        let probe: Probe<'_> =
            serde_json::from_str(line).map_err(|_| Rejection { code: ErrorCode::BadFrame, id: None })?;
        let frame = match &*probe.kind {
            "hello" => read(line).and_then(hello),
            "message" => read(line).and_then(message),
            "stop" => read(line).map(|WithId { id }| Self::Stop { id }),
            "request" => read(line).and_then(request),
            "ping" => read(line).map(|WithOptionalId { id }| Self::Ping { id }),
            "bye" => Ok(Self::Bye),
            _ => Err(ErrorCode::UnknownType),
        };
        frame.map_err(|code| Rejection { code, id: probe.id.as_str().and_then(|id| id.parse().ok()) })
    }

    /// What `line` is meant as: a JSON object with the `type` of a client frame, well formed
    /// or not, is never taken for chat.
    pub fn meant(line: &str) -> Option<Meant> {
        // Cheap first: people rarely open with a brace.
        if !line.trim_start().starts_with('{') {
            return None;
        }
        match &*serde_json::from_str::<Probe<'_>>(line).ok()?.kind {
            "hello" => Some(Meant::Hello),
            "message" | "stop" | "request" | "ping" | "bye" => Some(Meant::Other),
            _ => None,
        }
    }
}

/// What a line on a plain connection is meant as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// `hello`: to become framed.
    Hello,
    /// Another client frame.
    Other,
}

impl Meant {
    /// Whether it is `hello`.
    pub fn is_hello(self) -> bool {
        self == Self::Hello
    }
}

fn read<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, ErrorCode> {
    serde_json::from_str(line).map_err(|_| ErrorCode::BadFrame)
}

fn hello(hello: Hello) -> Result<ClientFrame, ErrorCode> {
    let fits = |field: &Option<UserText>, max: usize| field.as_ref().is_none_or(|text| text.chars() <= max);
    let (client, resume, auth) = limits::MAX_HELLO_FIELD_CHARS;
    if fits(&hello.client, client) && fits(&hello.resume, resume) && fits(&hello.auth, auth) {
        Ok(ClientFrame::Hello(hello))
    } else {
        Err(ErrorCode::BadFrame)
    }
}

fn message(MessageFields { id, text }: MessageFields) -> Result<ClientFrame, ErrorCode> {
    if limits::MAX_TEXT_CHARS < text.chars() {
        Err(ErrorCode::TextTooLong)
    } else if text.expose().trim().is_empty() {
        Err(ErrorCode::BadFrame)
    } else {
        Ok(ClientFrame::Message { id, text })
    }
}

fn request(fields: RequestFields) -> Result<ClientFrame, ErrorCode> {
    let RequestFields { id, method, params, timeout_ms } = fields;
    let (shortest, default, longest) = limits::REQUEST_TIMEOUT_MS;
    let timeout_ms = timeout_ms.unwrap_or(default);
    if (shortest..=longest).contains(&timeout_ms) && (1..=limits::MAX_METHOD_CHARS).contains(&method.chars().count()) {
        Ok(ClientFrame::Request(Request { id, method, params, timeout: Duration::from_millis(timeout_ms) }))
    } else {
        Err(ErrorCode::BadFrame)
    }
}
