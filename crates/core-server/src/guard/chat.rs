//! The word of a chat model: one made to judge texts, or any that follows an instruction.

use protocol::UserText;
use safety::Level;
use serde::{Deserialize, Serialize};

use super::client::{Client, GuardError};

/// Asks for one word. Models made to judge texts have an instruction of their own and answer in their own words.
const INSTRUCTION: &str = include_str!("chat.txt");
/// Longest answer, in tokens: a word, or the verdict and the categories of a model made for this.
const MAX_TOKENS: u32 = 64;
/// What thinking aloud ends with.
const THOUGHT: &str = "</think>";

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
    message: Said,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
}

pub(super) async fn ask(client: &Client, model: Option<&str>, text: &UserText) -> Result<Level, GuardError> {
    let messages = [
        Message { role: "system", content: INSTRUCTION.trim_ascii_end() },
        Message { role: "user", content: text.expose() },
    ];
    let request = Request { model, messages, temperature: 0.0, max_tokens: MAX_TOKENS, stream: false };
    let Response { choices } = client.call(&request).await?;
    let said = choices.into_iter().next().and_then(|choice| choice.message.content).ok_or(GuardError::Malformed)?;
    level_of(&said).ok_or(GuardError::Malformed)
}

/// The level in the model's words; `None` if they say nothing of the kind.
fn level_of(said: &str) -> Option<Level> {
    let said = said.rsplit(THOUGHT).next().unwrap_or_default().to_ascii_lowercase();
    let words = said.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    words.iter().find_map(|word| match *word {
        "none" | "safe" => Some(Level::None),
        "concern" => Some(Level::Concern),
        "high" | "imminent" => Some(Level::High),
        // It does not say how grave; of other categories nothing follows.
        "unsafe" | "controversial" => Some(if is_of_self_harm(&words) { Level::Concern } else { Level::None }),
        _ => None,
    })
}

/// Names of the category in the lists that such models are trained on.
fn is_of_self_harm(words: &[&str]) -> bool {
    let is_named = |word: &&str| matches!(*word, "s11" | "suicide" | "suicidal" | "selfharm");
    words.iter().any(is_named) || words.windows(2).any(|pair| pair == ["self", "harm"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_several_models() {
        for (said, want) in [
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
            assert_eq!(level_of(said), want, "{said}");
        }
    }
}
