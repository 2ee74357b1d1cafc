//! Tolerant parser of one chunk of a completion: only its text and its end are essential.
//!
//! Dozens of servers implement OpenAI's API, each with differences of its own. Optional members may be missing, `null`
//! or of another type; an unreadable member counts as missing and must not spoil any other.

mod fast_path;
mod members;

use protocol::server_frame::Usage;
use serde_json::value::RawValue;

use members::Source;

/// Limit on a provider's error code.
const MAX_CODE_CHARS: usize = 64;
/// Largest integer that every JSON parser keeps exactly: 2⁵³ − 1.
const MAX_COUNT: u64 = 9_007_199_254_740_991;

/// Relevant parts of a chunk.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Chunk {
    /// Delta of the answer, in WTF-8: may begin or end inside a character.
    pub(super) text: Vec<u8>,
    /// The model is thinking: progress without text.
    pub(super) is_thinking: bool,
    /// Finish reason of the provider; never empty.
    pub(super) finish: Option<String>,
    /// Token counts, if both are valid.
    pub(super) usage: Option<Usage>,
    /// Code of a reported failure.
    pub(super) failure: Option<String>,
}

/// Error: the chunk is not JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotJson;

impl Chunk {
    /// Parses the data of an event, or a body with a whole completion.
    ///
    /// # Errors
    ///
    /// [`NotJson`]. Other JSON yields an empty chunk.
    pub(super) fn read(data: &[u8]) -> Result<Self, NotJson> {
        fast_path::read(data).map_or_else(|| Self::read_tolerantly(data), Ok)
    }

    fn read_tolerantly(data: &[u8]) -> Result<Self, NotJson> {
        let source = Source::new(data);
        let text = source.text().trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let value: &RawValue = serde_json::from_str(text).map_err(|_| NotJson)?;
        Ok(Self::of(&source, value))
    }

    fn of(source: &Source<'_>, value: &RawValue) -> Self {
        // Gemini wraps errors in a list.
        let first = members::elements(value).and_then(|elements| elements.into_iter().next());
        let value = first.unwrap_or(value);
        let Some([choices, usage, groq, error, object, code]) =
            members::named(value, ["choices", "usage", "x_groq", "error", "object", "code"])
        else {
            return Self::default();
        };
        let usage = usage.and_then(read_usage).or_else(|| {
            let [usage] = members::named(groq?, ["usage"])?;
            read_usage(usage?)
        });
        let mut chunk = Self { usage, failure: error.and_then(|error| failure(source, error)), ..Self::default() };
        if object.and_then(|object| source.string(object)).as_deref() == Some("error") {
            chunk.failure.get_or_insert_with(|| code.and_then(|code| word(source, code)).unwrap_or_else(unnamed));
        }
        if let Some(choice) = choices.and_then(first_choice) {
            chunk.take_choice(source, choice);
        }
        chunk
    }

    fn take_choice(&mut self, source: &Source<'_>, [delta, message, finish]: Choice<'_>) {
        self.finish = finish.and_then(|finish| source.string(finish)).filter(|reason| !is_no_finish(reason));
        // Bodies that are no stream, and the last event of some proxies, hold the whole message in place of a delta.
        let Some(delta) = delta.or(message) else { return };
        let Some([content, refusal, extra]) = members::named(delta, ["content", "refusal", "extra_content"]) else {
            return;
        };
        let thinks = members::named(
            delta,
            ["reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks", "thought"],
        );
        self.is_thinking = thinks.is_some_and(|thinks| thinks.into_iter().flatten().any(says_something));
        let (mut text, has_thought) = content.map(|content| read_content(source, content)).unwrap_or_default();
        if extra.is_some_and(is_thought) {
            self.is_thinking |= !text.is_empty();
            text.clear();
        }
        (self.text, self.is_thinking) = (text, self.is_thinking || has_thought);
        if self.finish.is_some() && self.text.is_empty() && refusal.is_some_and(says_something) {
            self.finish = Some("refusal".to_owned());
        }
    }
}

/// True for the words that some servers write in place of no finish reason.
fn is_no_finish(reason: &str) -> bool {
    ["", "null", "none"].iter().any(|none| reason.trim().eq_ignore_ascii_case(none))
}

/// Relevant members of a choice: delta, message, finish reason.
type Choice<'a> = [Option<&'a RawValue>; 3];

/// Choice of index 0, at any position; a choice without an index has its position. The request asks for one choice.
fn first_choice(choices: &RawValue) -> Option<Choice<'_>> {
    let choices = members::elements(choices)?;
    (0_u64..).zip(choices).find_map(|(place, choice)| {
        let [index, choice @ ..] = members::named(choice, ["index", "delta", "message", "finish_reason"])?;
        let index = index.and_then(|index| serde_json::from_str(index.get()).ok()).unwrap_or(place);
        (index == 0).then_some(choice)
    })
}

/// Text of a `content`, a string or a list of parts, and whether it has thinking parts.
fn read_content(source: &Source<'_>, content: &RawValue) -> (Vec<u8>, bool) {
    if let Some(text) = source.bytes(content) {
        return (text, false);
    }
    let parts = members::elements(content).unwrap_or_else(|| vec![content]);
    let (mut text, mut has_thought) = (Vec::new(), false);
    for part in parts {
        let Some([kind, words]) = members::named(part, ["type", "text"]) else {
            text.extend(source.bytes(part).unwrap_or_default());
            continue;
        };
        match kind.and_then(|kind| source.string(kind)).as_deref() {
            None | Some("text" | "output_text") => {
                text.extend(words.and_then(|words| source.bytes(words)).unwrap_or_default());
            }
            Some(_) => has_thought = true,
        }
    }
    (text, has_thought)
}

/// True if Gemini marks the sibling content as a thought.
fn is_thought(extra: &RawValue) -> bool {
    let google = members::named(extra, ["google"]).and_then(|[google]| google);
    let thought = google.and_then(|google| members::named(google, ["thought"])).and_then(|[thought]| thought);
    thought.is_some_and(|thought| thought.get() == "true")
}

/// True unless a member is empty or `false`.
fn says_something(value: &RawValue) -> bool {
    !matches!(value.get(), "\"\"" | "[]" | "{}" | "false")
}

/// Both counts, if valid: the line protocol has both or none.
fn read_usage(usage: &RawValue) -> Option<Usage> {
    let [prompt, completion] = members::named(usage, ["prompt_tokens", "completion_tokens"])?;
    let (prompt_tokens, completion_tokens) = (count(prompt?)?, count(completion?)?);
    Some(Usage { prompt_tokens, completion_tokens })
}

/// Parses a count, which some servers write as `12.0`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole, and not negative")]
#[expect(clippy::cast_precision_loss, reason = "the largest one is exact")]
fn count(value: &RawValue) -> Option<u64> {
    let number: serde_json::Number = serde_json::from_str(value.get()).ok()?;
    let whole = |number: f64| (number.fract() == 0.0 && (0.0..=MAX_COUNT as f64).contains(&number)).then_some(number);
    let count = number.as_u64().or_else(|| number.as_f64().and_then(whole).map(|number| number as u64));
    count.filter(|count| *count <= MAX_COUNT)
}

/// Code of an `error` member, unless it is empty.
fn failure(source: &Source<'_>, error: &RawValue) -> Option<String> {
    if !says_something(error) {
        return None;
    }
    let members = members::named(error, ["code", "type", "status"]).unwrap_or_default();
    let code = members.into_iter().flatten().find_map(|member| word(source, member));
    Some(code.or_else(|| word(source, error)).unwrap_or_else(unnamed))
}

/// A string or number that is a plain code. Must not accept a sentence, which may quote a person.
fn word(source: &Source<'_>, value: &RawValue) -> Option<String> {
    let word = source.string(value).or_else(|| count(value).map(|number| number.to_string()))?;
    let is_code = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
    (!word.is_empty() && word.len() <= MAX_CODE_CHARS && word.chars().all(is_code)).then_some(word)
}

fn unnamed() -> String {
    "unnamed".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the data of the events of `stream`, one event a line.
    fn events(stream: &str) -> impl Iterator<Item = &str> {
        stream.lines().filter_map(|line| line.strip_prefix("data:").map(str::trim_start))
    }

    #[test]
    fn fast_path_matches_the_tolerant_parser() {
        let streams = [
            include_str!("reader/fixtures/groq.sse"),
            include_str!("reader/fixtures/openai.sse"),
            include_str!("reader/fixtures/gemini.sse"),
            include_str!("reader/fixtures/ollama.sse"),
            include_str!("reader/fixtures/openrouter.sse"),
            include_str!("reader/fixtures/vllm.sse"),
        ];
        let mut taken = 0;
        for data in streams.into_iter().flat_map(events) {
            if let Some(chunk) = fast_path::read(data.as_bytes()) {
                taken += 1;
                assert_eq!(Chunk::read_tolerantly(data.as_bytes()), Ok(chunk), "{data}");
            }
        }
        assert!(10 <= taken, "{taken}");
    }

    #[test]
    fn fast_path_declines_unusual_chunks() {
        let delta = |members: &str| format!(r#"{{"choices":[{{"delta":{{"content":"a"{members}}}}}]}}"#);
        for (data, is_taken) in [
            (delta(""), true),
            (delta(r#","reasoning":null,"role":"assistant""#), true),
            (delta(r#","reasoning":"""#), false),
            (delta(r#","thought":true"#), false),
            (delta(r#","extra_content":{"google":{"thought":true}}"#), false),
            (delta(r#","content":"b""#), false),
            (r#"{"choices":[{"index":0.0,"delta":{"content":"a"}}]}"#.to_owned(), false),
            (r#"{"choices":[{"index":1,"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#.to_owned(), false),
            (r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#.to_owned(), true),
            (r#"{"choices":[{"delta":{"refusal":"no"},"finish_reason":"stop"}]}"#.to_owned(), false),
            (r#"{"choices":[{"delta":{"content":["a"]}}]}"#.to_owned(), false),
            (r#"{"choices":[{"delta":{"content":"\ud83d"}}]}"#.to_owned(), false),
            (r#"{"object":"error","choices":[{"delta":{"content":"a"}}]}"#.to_owned(), false),
            (r#"{"usage":{"prompt_tokens":1,"completion_tokens":2},"choices":[{"delta":{}}]}"#.to_owned(), true),
            (r#"{"usage":{"prompt_tokens":1.0,"completion_tokens":2},"choices":[{"delta":{}}]}"#.to_owned(), false),
            (r#"{"usage":{},"choices":[{"delta":{"content":"a"}}]}"#.to_owned(), false),
            (r#"[{"choices":[{"delta":{"content":"a"}}]}]"#.to_owned(), false),
            (r#"{"choices":[]}"#.to_owned(), false),
            ("[DONE]".to_owned(), false),
        ] {
            assert_eq!(fast_path::read(data.as_bytes()).is_some(), is_taken, "{data}");
        }
    }
}
