//! Sans-I/O parser of a response body: text, finish and token counts of an answer.
//!
//! The result must not depend on how the network splits the bytes.

use protocol::server_frame::{Finish, Usage};

use super::chunk::Chunk;
use super::decoder::TextDecoder;
use super::error::LlmError;
use super::error_body::{Cause, ErrorBody};
use super::finish_class::{FinishClass, first_word};
use super::sse::{Event, Parser};
use super::thinking::ThinkingFilter;

/// Limit on a stream: far above the longest answer at one character per event, with long thinking before it.
const MAX_STREAM_BYTES: usize = 64 * 1024 * 1024;
/// Limit on a completion that is not streamed.
const MAX_DOCUMENT_BYTES: usize = 4 * 1024 * 1024;
/// Limit on a finish reason in logs.
const MAX_REASON_CHARS: usize = 64;

/// Progress of an answer.
#[derive(Debug)]
pub(super) enum Step {
    /// A delta; with `restarts` it replaces all text before.
    Text {
        text: String,
        restarts: bool,
    },
    /// Thinking: progress without text.
    Alive,
    /// The answer is complete.
    End,
    Failed(LlmError),
}

/// Parser of one response body.
#[derive(Debug)]
pub(super) struct Reader {
    body: Body,
    total: usize,
    decoder: TextDecoder,
    thinking: ThinkingFilter,
    /// Parsed text that has not been taken.
    text: String,
    /// Text taken before is no part of the answer.
    restarts: bool,
    is_alive: bool,
    /// Text has been taken.
    has_begun: bool,
    finish: Option<String>,
    usage: Option<Usage>,
    end: Option<Result<(), LlmError>>,
    /// The model completed its answer.
    is_whole: bool,
}

/// Kind of a body, recognized by its first bytes.
#[derive(Debug)]
enum Body {
    /// Only a byte order mark and white space so far.
    Unknown(Vec<u8>),
    Events(Parser),
    /// JSON of a whole completion or error.
    Document(Vec<u8>),
}

impl Reader {
    /// Creates a parser. `suspects_thinking`: see [`ThinkingFilter::new`].
    pub(super) fn new(suspects_thinking: bool) -> Self {
        Self {
            body: Body::Unknown(Vec::new()),
            total: 0,
            decoder: TextDecoder::default(),
            thinking: ThinkingFilter::new(suspects_thinking),
            text: String::new(),
            restarts: false,
            is_alive: false,
            has_begun: false,
            finish: None,
            usage: None,
            end: None,
            is_whole: false,
        }
    }

    /// Parses the next bytes; ignores those after the end of the answer.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.end.is_some() {
            return;
        }
        self.total = self.total.saturating_add(bytes.len());
        if MAX_STREAM_BYTES < self.total {
            return self.end_with(LlmError::Malformed { reason: "too long" });
        }
        match &mut self.body {
            Body::Unknown(begin) => {
                begin.extend_from_slice(bytes);
                self.recognise();
            }
            Body::Events(parser) => {
                let pushed = parser.push(bytes);
                self.read_events();
                if pushed.is_err() {
                    self.end_with(LlmError::Malformed { reason: "an event is too long" });
                }
            }
            Body::Document(document) => {
                document.extend_from_slice(bytes);
                if MAX_DOCUMENT_BYTES < document.len() {
                    self.end_with(LlmError::Malformed { reason: "no stream, and too long" });
                }
            }
        }
    }

    /// Ends the body; `broke`: the connection was lost before its end.
    pub(super) fn finish(&mut self, broke: bool) {
        match &mut self.body {
            Body::Events(parser) if !broke => {
                parser.finish();
                self.read_events();
            }
            Body::Document(document) if !broke => {
                let document = std::mem::take(document);
                self.read_document(&document);
            }
            Body::Unknown(_) | Body::Events(_) | Body::Document(_) => {}
        }
        // Some servers omit `[DONE]`; without a finish reason too, the stream was truncated.
        if self.end.is_none() {
            self.end_with(LlmError::Truncated);
        }
    }

    /// Returns the text since the last call, or the end; `None`: more bytes are needed.
    pub(super) fn take(&mut self) -> Option<Step> {
        let is_taken_back = self.restarts && self.end.is_some();
        if !self.text.is_empty() || is_taken_back {
            let (text, restarts) = (std::mem::take(&mut self.text), std::mem::take(&mut self.restarts));
            self.has_begun |= !text.is_empty();
            self.is_alive = false;
            return Some(Step::Text { text, restarts });
        }
        if let Some(end) = self.end.take() {
            self.end = Some(Ok(()));
            return Some(match end {
                Ok(()) => Step::End,
                Err(error) => Step::Failed(error),
            });
        }
        std::mem::take(&mut self.is_alive).then_some(Step::Alive)
    }

    /// True once a finish reason has arrived; only token counts may follow.
    pub(super) fn has_finish(&self) -> bool {
        self.finish.is_some()
    }

    /// True once text has been taken.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Finish of the answer.
    pub(super) fn how_it_ended(&self) -> Finish {
        match self.finish.as_deref().map(FinishClass::of) {
            Some(FinishClass::Length) => Finish::Length,
            _ => Finish::Stop,
        }
    }

    /// Token counts, if the provider sends them.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// True if the answer began with unopened thinking; `None` if unknown.
    pub(super) fn has_unopened_thinking(&self) -> Option<bool> {
        self.thinking.is_unopened(self.is_whole)
    }

    fn recognise(&mut self) {
        let Body::Unknown(begin) = &mut self.body else { return };
        let mark = b"\xef\xbb\xbf";
        if begin.len() < mark.len() && mark.starts_with(begin) {
            return;
        }
        let rest = begin.strip_prefix(mark).unwrap_or(begin);
        let rest = rest.trim_ascii_start();
        match rest {
            [] => {}
            [b'{' | b'[', ..] => self.body = Body::Document(rest.to_vec()),
            [b'<', ..] => self.end_with(LlmError::Malformed { reason: "a page in place of an answer" }),
            [0x1f] => {}
            [0x1f, 0x8b, ..] => self.end_with(LlmError::Malformed { reason: "compressed, which was not asked for" }),
            _ => {
                let mut parser = Parser::default();
                let pushed = parser.push(rest);
                self.body = Body::Events(parser);
                self.read_events();
                if pushed.is_err() {
                    self.end_with(LlmError::Malformed { reason: "an event is too long" });
                }
            }
        }
    }

    fn read_events(&mut self) {
        while self.end.is_none() {
            let Body::Events(parser) = &mut self.body else { return };
            let Some(event) = parser.next() else { return };
            self.read_event(&event);
        }
    }

    fn read_event(&mut self, event: &Event) {
        if event.data.trim_ascii() == b"[DONE]" {
            return self.end_with(LlmError::Empty);
        }
        match Chunk::read(&event.data) {
            Ok(Chunk { failure, .. }) if event.is_error => self.end_with(reported(failure, &event.data)),
            Err(_) if event.is_error => self.end_with(reported(None, &event.data)),
            Ok(chunk) => self.read_chunk(chunk, &event.data),
            // Some servers forget the blank line between events: one chunk per line.
            Err(_) if event.data.contains(&b'\n') => {
                for line in event.data.split(|byte| *byte == b'\n') {
                    if self.end.is_none() {
                        self.read_event(&Event { is_error: false, data: line.to_vec() });
                    }
                }
            }
            Err(_) => self.end_with(LlmError::Malformed { reason: "an event is not a chunk" }),
        }
    }

    fn read_document(&mut self, document: &[u8]) {
        match Chunk::read(document) {
            Ok(chunk) => {
                self.read_chunk(chunk, document);
                if self.end.is_none() {
                    let none = LlmError::Malformed { reason: "JSON, but no completion" };
                    self.end_with(if self.has_text() { LlmError::Empty } else { none });
                }
            }
            // One chunk per line, without SSE framing.
            Err(_) if document.contains(&b'\n') => {
                self.read_event(&Event { is_error: false, data: document.to_vec() });
            }
            Err(_) => self.end_with(LlmError::Malformed { reason: "neither a stream nor JSON" }),
        }
    }

    fn read_chunk(&mut self, chunk: Chunk, data: &[u8]) {
        let mut text = String::new();
        self.decoder.decode(&chunk.text, &mut text);
        let filtered = self.thinking.push(&text);
        if filtered.restarts {
            self.text.clear();
            self.restarts |= std::mem::take(&mut self.has_begun);
        }
        self.text.push_str(&filtered.text);
        self.is_alive |= chunk.is_thinking || filtered.has_hidden;
        self.usage = chunk.usage.or(self.usage);
        if chunk.failure.is_some() {
            // A finish reason beside a failure only says that nothing follows.
            return self.end_with(reported(chunk.failure, data));
        }
        // The last one counts: some servers send one with every chunk.
        self.finish = chunk.finish.or(self.finish.take());
    }

    /// Ends the answer by its finish reason if there was one, because no later error may spoil a complete answer; else
    /// by `error`.
    fn end_with(&mut self, error: LlmError) {
        let meaning = self.finish.as_deref().map(FinishClass::of);
        // `[DONE]` without a finish reason.
        let is_done = meaning.is_none() && matches!(error, LlmError::Empty);
        self.is_whole = is_done || meaning == Some(FinishClass::Complete);
        self.text.push_str(&self.thinking.finish(self.is_whole));
        let reason = || bounded(self.finish.as_deref().unwrap_or_default());
        self.end = Some(match meaning {
            Some(FinishClass::Complete | FinishClass::Length) if self.has_text() => Ok(()),
            Some(FinishClass::Failed) => Err(LlmError::Reported { code: reason() }),
            Some(_) => Err(LlmError::Withheld { reason: reason() }),
            None if is_done && self.has_text() => Ok(()),
            None => Err(error),
        });
    }

    /// True if the answer has any text.
    fn has_text(&self) -> bool {
        self.has_begun || !self.text.is_empty()
    }
}

/// Error of a failure reported in the stream with `code` in `data`.
fn reported(code: Option<String>, data: &[u8]) -> LlmError {
    let body = Box::new(ErrorBody::parse(data));
    let status = match (code.as_deref().map(str::parse), body.cause) {
        (Some(Ok(status @ 400..=599)), _) => status,
        // As if it had arrived as an HTTP status: the callers handle such rejections by status.
        (_, Cause::Flagged | Cause::TooLong) => 400,
        (_, Cause::Quota) => 429,
        (_, Cause::Model) => 404,
        (_, Cause::Other) => return LlmError::Reported { code: code.unwrap_or_else(|| "unnamed".to_owned()) },
    };
    LlmError::Status { status, retry_after: None, body }
}

/// Finish reason for logs: the bounded first word. A sentence behind it may quote a person.
fn bounded(reason: &str) -> String {
    first_word(reason).chars().take(MAX_REASON_CHARS).collect()
}

#[cfg(test)]
mod tests;
