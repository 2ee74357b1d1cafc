//! Wire format of a streamed completion, as OpenAI-compatible servers write it.

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::llm::answer::{Answer, Hang};

/// Fixed, for reproducible bytes: 2026-01-01T00:00:00Z.
const CREATED: u64 = 1_767_225_600;

/// A broken stream: half an event, then a proxy's error page.
const GARBAGE: &str = "data: {\"id\":\"chatcmpl-\n\n<html><body>502 Bad Gateway</body></html>\n\n";

/// Request data needed by one response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// Number of the request, used in the completion's id.
    pub(super) number: u64,
    pub(super) model: String,
    pub(super) include_usage: bool,
    /// Length of the request, used to estimate the prompt's tokens.
    pub(super) prompt_bytes: usize,
}

/// Renders `answer` as groups of chunks; each group is one write.
pub(super) fn render(answer: &Answer, call: &Call) -> Vec<Bytes> {
    if !answer.raw.is_empty() {
        let size = if answer.gap_ms == 0 { usize::MAX } else { answer.burst.max(1) };
        return answer.raw.chunks(size).map(|group| Bytes::from(group.concat())).collect();
    }
    render_groups(answer, answer.pieces.chunks(if answer.gap_ms == 0 { usize::MAX } else { answer.burst.max(1) }), call)
}

/// Renders `answer` as two groups: the first `shown` pieces, and the rest.
pub(super) fn render_in_two(answer: &Answer, shown: usize, call: &Call) -> Vec<Bytes> {
    let (before, after) = answer.pieces.split_at(shown.min(answer.pieces.len()));
    render_groups(answer, [before, after].into_iter(), call)
}

fn render_groups<'a>(answer: &Answer, groups: impl Iterator<Item = &'a [String]>, call: &Call) -> Vec<Bytes> {
    let chunk = Chunk::new(call);
    let mut segments: Vec<String> = groups.map(|group| chunk.contents(group)).collect();
    if segments.is_empty() {
        segments.push(String::new());
    }
    if let Some(first) = segments.first_mut() {
        first.insert_str(0, &chunk.role());
    }
    if let Some(last) = segments.last_mut() {
        last.push_str(&chunk.tail(answer, call));
    }
    segments.into_iter().map(Bytes::from).collect()
}

/// Returns the default body of an HTTP error.
pub(super) fn error_body(status: u16) -> Bytes {
    let kind = match status {
        401 => "invalid_request_error",
        429 => "rate_limit_exceeded",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    };
    let error = json!({"error": {"message": format!("scripted status {status}"), "type": kind, "code": Value::Null}});
    error.to_string().into()
}

/// Writer of chunks that differ only in their choice.
struct Chunk {
    /// Up to and including `"choices":`.
    head: String,
}

impl Chunk {
    fn new(call: &Call) -> Self {
        let model = Value::from(call.model.as_str());
        let head = format!(
            r#"data: {{"id":"chatcmpl-{}","object":"chat.completion.chunk","created":{CREATED},"model":{model},"choices":"#,
            call.number
        );
        Self { head }
    }

    fn role(&self) -> String {
        self.choice(r#"{"role":"assistant","content":""}"#, "null")
    }

    fn contents(&self, pieces: &[String]) -> String {
        let mut out = String::with_capacity(pieces.len() * (self.head.len() + 96));
        for piece in pieces {
            let content = Value::from(piece.as_str());
            out.push_str(&self.choice(&format!(r#"{{"content":{content}}}"#), "null"));
        }
        out
    }

    fn choice(&self, delta: &str, finish_reason: &str) -> String {
        let head = &self.head;
        format!("{head}[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish_reason}}}]}}\n\n")
    }

    /// Returns the bytes after the last piece.
    fn tail(&self, answer: &Answer, call: &Call) -> String {
        if answer.garbage {
            return GARBAGE.to_owned();
        }
        if answer.cut || answer.hang == Some(Hang::Stream) {
            return String::new();
        }
        let mut out = self.choice("{}", &Value::from(answer.finish.as_str()).to_string());
        if answer.usage && call.include_usage {
            let (prompt, completion) = (call.prompt_bytes.div_ceil(4), answer.pieces.len());
            let usage = json!({
                "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
            });
            // Writing to a `String` cannot fail.
            let _ = write!(out, "{}[],\"usage\":{usage}}}\n\n", self.head);
        }
        out.push_str("data: [DONE]\n\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call { number: 7, model: "modelo".to_owned(), include_usage: true, prompt_bytes: 40 }
    }

    fn joined(answer: &Answer) -> String {
        render(answer, &call()).iter().map(|segment| String::from_utf8(segment.to_vec()).unwrap()).collect()
    }

    fn events(text: &str) -> Vec<Value> {
        let events = text.split_terminator("\n\n").filter(|event| *event != "data: [DONE]");
        events.map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect()
    }

    #[test]
    fn whole_answer() {
        let text = joined(&Answer::pieces(["ho\n", "\"la\""]));
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        let events = events(&text);
        assert_eq!(events.len(), 5);
        for event in &events {
            assert_eq!(event["id"], "chatcmpl-7");
            assert_eq!(event["object"], "chat.completion.chunk");
            assert_eq!(event["model"], "modelo");
        }
        assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
        assert_eq!(events[1]["choices"][0]["delta"], json!({"content": "ho\n"}));
        assert_eq!(events[2]["choices"][0]["delta"], json!({"content": "\"la\""}));
        assert_eq!(events[3]["choices"][0]["delta"], json!({}));
        assert_eq!(events[3]["choices"][0]["finish_reason"], "stop");
        assert_eq!(events[4]["choices"], json!([]));
        assert_eq!(events[4]["usage"], json!({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}));
    }

    #[test]
    fn faults_leave_out_the_end() {
        let pieces = Answer::pieces(["a"]);
        let cut = Answer { cut: true, ..pieces.clone() };
        let garbage = Answer { garbage: true, ..pieces.clone() };
        for answer in [cut, pieces.clone().hanging(Hang::Stream)] {
            assert_eq!(events(&joined(&answer)).len(), 2);
        }
        assert!(joined(&garbage).ends_with(GARBAGE));
        assert_eq!(events(&joined(&Answer { usage: false, ..pieces })).len(), 3);
    }

    #[test]
    fn groups_follow_the_gap() {
        let groups = |gap_ms, burst| render(&Answer { gap_ms, burst, ..Answer::chunks(5) }, &call()).len();
        assert_eq!(groups(0, 1), 1);
        assert_eq!(groups(10, 1), 5);
        assert_eq!(groups(10, 2), 3);
        let raw = |gap_ms| render(&Answer { gap_ms, ..Answer::raw(["a", "b"]) }, &call());
        assert_eq!((raw(0), raw(10)), (vec![Bytes::from("ab")], vec![Bytes::from("a"), Bytes::from("b")]));
    }
}
