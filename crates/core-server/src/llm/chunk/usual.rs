//! Fast path for the shape that nearly every chunk has: read in one pass over the data, while the tolerant reader
//! goes over nested members several times. Eight chunks a turn made that a tenth of a turn's processor time.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// A chunk with one choice and nothing in it that the tolerant reader would read differently.
#[derive(Deserialize)]
struct UsualChunk<'a> {
    #[serde(borrow)]
    choices: (UsualChoice<'a>,),
    object: Option<&'a str>,
    usage: Option<IgnoredAny>,
    x_groq: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct UsualChoice<'a> {
    index: Option<u64>,
    delta: UsualDelta,
    finish_reason: Option<&'a str>,
}

#[derive(Deserialize)]
struct UsualDelta {
    content: Option<String>,
    refusal: Option<IgnoredAny>,
    extra_content: Option<IgnoredAny>,
    reasoning_content: Option<IgnoredAny>,
    reasoning: Option<IgnoredAny>,
    reasoning_details: Option<IgnoredAny>,
    thinking: Option<IgnoredAny>,
    thinking_blocks: Option<IgnoredAny>,
    thought: Option<IgnoredAny>,
}

/// Returns the text of a chunk that holds text and nothing else; `None` leaves it to the tolerant reader.
pub(super) fn text(data: &[u8]) -> Option<Vec<u8>> {
    let UsualChunk { choices: (choice,), object, usage, x_groq, error } = serde_json::from_slice(data).ok()?;
    let UsualChoice { index, delta, finish_reason } = choice;
    let is_first = index.is_none_or(|index| index == 0);
    let is_plain = usage.is_none() && x_groq.is_none() && error.is_none() && object != Some("error");
    let is_text = is_first && is_plain && finish_reason.is_none() && !delta.has_more();
    is_text.then(|| delta.content.unwrap_or_default().into_bytes())
}

impl UsualDelta {
    fn has_more(&self) -> bool {
        [
            &self.refusal,
            &self.extra_content,
            &self.reasoning_content,
            &self.reasoning,
            &self.reasoning_details,
            &self.thinking,
            &self.thinking_blocks,
            &self.thought,
        ]
        .iter()
        .any(|member| member.is_some())
    }
}
