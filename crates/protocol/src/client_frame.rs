//! Client frames (`proto-line/SPEC.md` §3).

use std::borrow::Cow;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::country::Country;
use crate::error_code::ErrorCode;
use crate::ids::MessageId;
use crate::json;
use crate::limits;
use crate::locale::Locale;
use crate::text::UserText;

/// A well-formed client frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
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
    /// Ends the generation of the answer to `id`; the text so far is kept.
    Stop {
        /// Id of the message whose answer is to stop.
        id: MessageId,
    },
    /// A question about the session.
    Request(Request),
    /// Answered by `pong`.
    Ping {
        /// Echoed in the `pong`.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<MessageId>,
    },
    /// The server closes.
    Bye,
}

/// Fields of `hello`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol the client speaks.
    pub v: u64,
    /// Resume token as text: a malformed one is `bad_resume`, not `bad_frame`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<UserText>,
    /// Last `seq` the client holds; `None` replays nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Language the person wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<Locale>,
    /// Name of the client program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<UserText>,
    /// Credential of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<UserText>,
    /// The person's country, chosen or confirmed by them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<Country>,
    /// IANA time zone of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<UserText>,
    /// `false`: a new session is not stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<bool>,
}

/// Fields of `request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Echoed in the response.
    pub id: MessageId,
    /// Name of the method.
    pub method: String,
    /// Its parameters; an empty object when absent.
    pub params: serde_json::Map<String, Value>,
    /// Time that the client waits for the response.
    #[serde(rename = "timeout_ms", serialize_with = "milliseconds")]
    pub timeout: Duration,
}

/// Error of a line that is no [`ClientFrame`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Error to answer with.
    pub code: ErrorCode,
    /// Id in the line, if it could be read.
    pub id: Option<MessageId>,
    /// The text of a message, if it could be read: it may still call for help.
    pub text: Option<UserText>,
}

/// The field of a line that selects its parser.
#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

impl<'a> Probe<'a> {
    /// Returns `None` unless `line` is a JSON object with a `type`. `serde` would take an array for one.
    fn new(line: &'a str) -> Option<Self> {
        if json::starts_with_object(line) { serde_json::from_str(line).ok() } else { None }
    }
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

/// The text alone: a text that is too long is reported before any fault of the other fields.
#[derive(Deserialize)]
struct WithText {
    text: UserText,
}

#[derive(Deserialize)]
struct RequestFields {
    id: MessageId,
    method: String,
    params: Option<serde_json::Map<String, Value>>,
    timeout_ms: Option<u64>,
}

impl ClientFrame {
    /// Returns the frame's id, if it has one.
    pub fn id(&self) -> Option<&MessageId> {
        match self {
            Self::Message { id, .. } | Self::Stop { id } | Self::Request(Request { id, .. }) => Some(id),
            Self::Ping { id } => id.as_ref(),
            Self::Hello(_) | Self::Bye => None,
        }
    }

    /// Appends the frame and its LF to `out`. Compact: the line has no other LF.
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use protocol::{ClientFrame, MessageId, UserText};
    ///
    /// let frame = ClientFrame::Message { id: MessageId::random(), text: UserText::new("hola") };
    /// let mut line = BytesMut::new();
    /// frame.encode_line(&mut line);
    /// let line = std::str::from_utf8(&line).unwrap();
    /// assert_eq!(ClientFrame::parse(line.trim_end()).unwrap(), frame);
    /// ```
    pub fn encode_line(&self, out: &mut BytesMut) {
        serde_json::to_writer((&mut *out).writer(), self)
            .expect("frames have string keys and a BytesMut grows: nothing to fail on");
        out.put_u8(b'\n');
    }

    /// Parses one line.
    ///
    /// # Errors
    ///
    /// `unknown_type` for an object of another type, `text_too_long` for a message over the limit, `bad_frame` for
    /// everything else that is not a frame.
    pub fn parse(line: &str) -> Result<Self, Rejection> {
        let (Some(probe), Some(depth)) = (Probe::new(line), json::depth(line)) else {
            return Err(Rejection { code: ErrorCode::BadFrame, id: None, text: None });
        };
        let frame = match &*probe.kind {
            "hello" => read(line).and_then(hello),
            "message" => read(line).and_then(message).map_err(|code| too_long(line).unwrap_or(code)),
            "stop" => read(line).map(|WithId { id }| Self::Stop { id }),
            "request" => read(line).and_then(request),
            "ping" => read(line).map(|WithOptionalId { id }| Self::Ping { id }),
            "bye" => Ok(Self::Bye),
            _ => Err(ErrorCode::UnknownType),
        };
        let frame = if depth < limits::NESTING_LIMIT { frame } else { frame.and(Err(ErrorCode::BadFrame)) };
        frame.map_err(|code| Rejection {
            code,
            id: read(line).map(|WithId { id }| id).ok(),
            text: read(line).map(|WithText { text }| text).ok(),
        })
    }

    /// Returns the frame that `line` was meant to be: a JSON object with the `type` of a client frame, well formed or
    /// not, is never taken for chat.
    pub fn hint(line: &str) -> Option<FrameHint> {
        match &*Probe::new(line)?.kind {
            "hello" => Some(FrameHint::Hello),
            "message" | "stop" | "request" | "ping" | "bye" => Some(FrameHint::Other),
            _ => None,
        }
    }
}

/// Client frame that a line on a plain connection was meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameHint {
    /// `hello`: the connection becomes framed.
    Hello,
    /// Another client frame.
    Other,
}

impl FrameHint {
    /// Returns `true` for `hello`.
    pub fn is_hello(self) -> bool {
        self == Self::Hello
    }
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn read<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, ErrorCode> {
    serde_json::from_str(line).map_err(|_| ErrorCode::BadFrame)
}

fn hello(hello: Hello) -> Result<ClientFrame, ErrorCode> {
    let fits = |field: &Option<UserText>, max: usize| field.as_ref().is_none_or(|text| text.chars() <= max);
    let named = hello.resume.as_ref().is_none_or(|token| !token.is_empty());
    let counted = hello.since.is_none_or(|since| since <= limits::MAX_INTEGER);
    let zoned = fits(&hello.time_zone, limits::MAX_TIME_ZONE_CHARS);
    let fits = fits(&hello.client, limits::MAX_CLIENT_CHARS)
        && fits(&hello.resume, limits::MAX_RESUME_CHARS)
        && fits(&hello.auth, limits::MAX_AUTH_CHARS);
    if named && counted && zoned && fits { Ok(ClientFrame::Hello(hello)) } else { Err(ErrorCode::BadFrame) }
}

fn message(MessageFields { id, text }: MessageFields) -> Result<ClientFrame, ErrorCode> {
    if limits::MAX_TEXT_CHARS < text.chars() || text.expose().trim().is_empty() || text.expose().contains('\0') {
        Err(ErrorCode::BadFrame)
    } else {
        Ok(ClientFrame::Message { id, text })
    }
}

/// Returns the error of a text over the limit, which precedes any other about the fields.
fn too_long(line: &str) -> Option<ErrorCode> {
    let WithText { text } = read(line).ok()?;
    (limits::MAX_TEXT_CHARS < text.chars()).then_some(ErrorCode::TextTooLong)
}

fn request(fields: RequestFields) -> Result<ClientFrame, ErrorCode> {
    let RequestFields { id, method, params, timeout_ms } = fields;
    let timeout_ms = timeout_ms.unwrap_or(limits::DEFAULT_REQUEST_TIMEOUT_MS);
    let is_timeout = (limits::MIN_REQUEST_TIMEOUT_MS..=limits::MAX_REQUEST_TIMEOUT_MS).contains(&timeout_ms);
    if is_timeout && (1..=limits::MAX_METHOD_CHARS).contains(&method.chars().count()) {
        let (params, timeout) = (params.unwrap_or_default(), Duration::from_millis(timeout_ms));
        Ok(ClientFrame::Request(Request { id, method, params, timeout }))
    } else {
        Err(ErrorCode::BadFrame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> Option<ErrorCode> {
        ClientFrame::parse(line).err().map(|rejection| rejection.code)
    }

    #[test]
    fn judges_lines_beyond_the_vectors() {
        use ErrorCode::{BadFrame, TextTooLong, UnknownType};
        let long = "a".repeat(limits::MAX_TEXT_CHARS + 1);
        let nested = |levels: usize| format!(r#"{{"type":"ping","x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        let cases = [
            // An array is no object, even with the values of one in their order.
            (r#"["bye"]"#.to_owned(), Some(BadFrame)),
            (r#"["ping","p1"]"#.to_owned(), Some(BadFrame)),
            (r#"["message","a","hola"]"#.to_owned(), Some(BadFrame)),
            // Fields that the type does not have are ignored.
            (r#"{"type":"bye","id":"a","id":7}"#.to_owned(), None),
            (r#"{"type":"saludo","id":"a","id":"b"}"#.to_owned(), Some(UnknownType)),
            (r#"{"type":"ping","x":1e999}"#.to_owned(), None),
            // But it is JSON, and nests little.
            (r#"{"type":"ping","x":"\ud83d"}"#.to_owned(), Some(BadFrame)),
            (nested(126), None),
            (nested(127), Some(BadFrame)),
            (nested(127).replace("ping", "saludo"), Some(UnknownType)),
            // A text that is too long precedes any other fault.
            (format!(r#"{{"type":"message","text":"{long}"}}"#), Some(TextTooLong)),
            (format!(r#"{{"type":"message","id":7,"text":"{long}"}}"#), Some(TextTooLong)),
            (format!(r#"{{"type":"message","id":"a","text":"{long}\u0000"}}"#), Some(TextTooLong)),
            (format!(r#"{{"type":"ping","text":"{long}"}}"#), None),
            (r#"{"type":"hello","v":1,"since":9007199254740991}"#.to_owned(), None),
            (r#"{"type":"hello","v":1,"since":9007199254740992}"#.to_owned(), Some(BadFrame)),
            // White space is Unicode's: NEL is, a byte order mark is not.
            (r#"{"type":"message","id":"a","text":"\u0085"}"#.to_owned(), Some(BadFrame)),
            (r#"{"type":"message","id":"a","text":"\ufeff"}"#.to_owned(), None),
        ];
        for (line, want) in cases {
            assert_eq!(code(&line), want, "{line}");
        }
    }

    #[test]
    fn rejection_carries_readable_id() {
        for (line, want) in [
            (r#"{"type":"message","id":"a"}"#, Some("a")),
            (r#"{"type":"request","id":"r1","method":7}"#, Some("r1")),
            (r#"{"type":"message","id":"a b","text":"hola"}"#, None),
            (r#"{"type":"message","id":"a","id":"b","text":"hola"}"#, None),
            (r#"{"id":"a"}"#, None),
        ] {
            let id = ClientFrame::parse(line).unwrap_err().id;
            assert_eq!(id.as_ref().map(MessageId::as_str), want, "{line}");
        }
    }

    #[test]
    fn rejection_carries_readable_text() {
        for (line, want) in [
            (r#"{"type":"message","id":"a","text":"ay\u0000"}"#, Some("ay\0")),
            (r#"{"type":"message","id":"a b","text":"ay"}"#, Some("ay")),
            (r#"{"type":"message","text":"ay"}"#, Some("ay")),
            (r#"{"type":"message","id":"a","text":7}"#, None),
            (r#"{"type":"say","id":7,"text":"ay"}"#, Some("ay")),
        ] {
            let text = ClientFrame::parse(line).unwrap_err().text;
            assert_eq!(text.as_ref().map(UserText::expose), want, "{line}");
        }
    }

    #[test]
    fn hints_frame_type_despite_malformed_fields() {
        for (line, want) in [
            (r#" {"type":"hello"}"#, Some(FrameHint::Hello)),
            (r#"{"type":"stop","id":[[7]]}"#, Some(FrameHint::Other)),
            (r#"{"type":"ping","id":"a","id":"b"}"#, Some(FrameHint::Other)),
            (r#"{"type":"saludo"}"#, None),
            (r#"["bye"]"#, None),
            (r#"{"type":"bye""#, None),
            ("hola", None),
        ] {
            assert_eq!(ClientFrame::hint(line), want, "{line}");
        }
    }
}
