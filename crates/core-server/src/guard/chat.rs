//! Opinion of a chat model: a moderation model, or any that follows an instruction.

use protocol::UserText;
use safety::Level;
use serde::{Deserialize, Serialize};

use super::client::{Client, GuardError};

/// Requests a single word. Moderation models have a template of their own and answer in its terms.
const INSTRUCTION: &str = include_str!("chat.txt");
/// Limit on the answer, in tokens: a word, or the verdict and categories of a moderation model.
const MAX_TOKENS: u32 = 64;
/// End of a reasoning model's thinking.
const THINKING_END: &str = "</think>";

#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    messages: [Message<'a>; 2],
    temperature: f32,
    max_tokens: u32,
    stream: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Deserialize)]
struct Response {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Reply,
}

#[derive(Deserialize)]
struct Reply {
    content: Option<String>,
}

pub(super) async fn ask(client: &Client, model: Option<&str>, text: &UserText) -> Result<Level, GuardError> {
    let messages = [
        Message { role: "system", content: INSTRUCTION.trim_ascii_end() },
        Message { role: "user", content: text.expose() },
    ];
    let request = Request { model, messages, temperature: 0.0, max_tokens: MAX_TOKENS, stream: false };
    let Response { choices } = client.call(&request).await?;
    let reply = choices.into_iter().next().and_then(|choice| choice.message.content).ok_or(GuardError::Malformed)?;
    level_of(&reply).ok_or(GuardError::Malformed)
}

/// Parses the level in a reply; `None` if it has none.
fn level_of(reply: &str) -> Option<Level> {
    let reply = reply.rsplit(THINKING_END).next().unwrap_or_default().to_ascii_lowercase();
    let words = reply.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    words.iter().find_map(|word| match *word {
        "none" | "safe" => Some(Level::None),
        "concern" => Some(Level::Concern),
        "high" | "imminent" => Some(Level::High),
        // Such verdicts have no grade; categories other than self-harm are ignored.
        "unsafe" | "controversial" => Some(if is_of_self_harm(&words) { Level::Concern } else { Level::None }),
        _ => None,
    })
}

/// True if `words` name the self-harm category of the usual taxonomies.
fn is_of_self_harm(words: &[&str]) -> bool {
    let is_named = |word: &&str| matches!(*word, "s11" | "suicide" | "suicidal" | "selfharm");
    words.iter().any(is_named) || words.windows(2).any(|pair| pair == ["self", "harm"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_replies_of_several_models() {
        for (reply, want) in [
            ("none", Some(Level::None)),
            (" Concern.\n", Some(Level::Concern)),
            ("**HIGH**", Some(Level::High)),
            ("{\"level\": \"imminent\"}", Some(Level::High)),
            ("<think>It is not high, is it?</think>\n\nnone", Some(Level::None)),
            ("safe", Some(Level::None)),
            ("unsafe\nS11", Some(Level::Concern)),
            ("unsafe\nS1,S9", Some(Level::None)),
            ("Safety: Unsafe\nCategories: Suicide & Self-Harm", Some(Level::Concern)),
            ("Safety: Controversial\nCategories: Violent", Some(Level::None)),
            ("Safety: Safe\nCategories: None", Some(Level::None)),
            ("", None),
            ("I cannot help with that.", None),
        ] {
            assert_eq!(level_of(reply), want, "{reply}");
        }
    }
}
