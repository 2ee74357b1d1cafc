//! Opinion of a `moderations` API.

use std::collections::HashMap;

use protocol::UserText;
use safety::Level;
use serde::{Deserialize, Serialize};

use super::client::{Client, GuardError};

/// Minimum score of a category, if the API sends scores.
const SCORE: f64 = 0.5;
/// Minimum score of the intent category for [`Level::High`].
const INTENT_SCORE: f64 = 0.6;

#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    input: &'a str,
}

#[derive(Deserialize)]
struct Response {
    results: Vec<Scores>,
}

/// Verdicts and scores by category. An API may omit either map, or send `null` for a category.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Scores {
    categories: HashMap<String, Option<bool>>,
    category_scores: HashMap<String, Option<f64>>,
}

pub(super) async fn ask(client: &Client, model: Option<&str>, text: &UserText) -> Result<Level, GuardError> {
    let response: Response = client.call(&Request { model, input: text.expose() }).await?;
    response.results.iter().map(Scores::level).max().ok_or(GuardError::Malformed)
}

impl Scores {
    fn level(&self) -> Level {
        let is_intent = |name: &str| name.contains("intent");
        let scored = self.category_scores.iter().filter_map(|(name, score)| Some((name, (*score)?)));
        let scored = scored.filter(|(name, _)| is_of_self_harm(name));
        let by_score = scored.map(|(name, score)| match score {
            score if is_intent(name) && INTENT_SCORE <= score => Level::High,
            score if SCORE <= score => Level::Concern,
            _ => Level::None,
        });
        // Scores take precedence over the API's own verdict.
        let named = self
            .categories
            .iter()
            .filter(|(name, _)| is_of_self_harm(name) && !self.category_scores.get(*name).is_some_and(Option::is_some));
        let by_name = named.map(|(name, flagged)| match flagged {
            Some(true) if is_intent(name) => Level::High,
            Some(true) => Level::Concern,
            Some(false) | None => Level::None,
        });
        by_score.chain(by_name).max().unwrap_or_default()
    }
}

/// True for `self-harm`, `self-harm/intent`, `self_harm`, `selfharm`, `S11: Suicide & Self-Harm`: names differ between
/// APIs.
fn is_of_self_harm(name: &str) -> bool {
    let letters: String = name.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
    letters.contains("selfharm") || letters.contains("suicid")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classifies_scores_and_verdicts() {
        for (scores, want) in [
            (json!({}), Level::None),
            (json!({"categories": {"violence": true}, "category_scores": {"violence": 0.99}}), Level::None),
            (json!({"category_scores": {"self-harm": 0.4, "self-harm/intent": 0.3}}), Level::None),
            (json!({"category_scores": {"self-harm": 0.5}}), Level::Concern),
            (json!({"category_scores": {"self-harm": 0.9, "self-harm/intent": 0.55}}), Level::Concern),
            (json!({"category_scores": {"self-harm/intent": 0.6}}), Level::High),
            (json!({"categories": {"self-harm": true}}), Level::Concern),
            (json!({"categories": {"self_harm/intent": true}}), Level::High),
            (json!({"categories": {"S11: Suicide & Self-Harm": true}}), Level::Concern),
            (json!({"categories": {"self-harm": null}, "category_scores": {"self-harm": null}}), Level::None),
            // Below our minimum, though the API's verdict is positive.
            (json!({"categories": {"self-harm": true}, "category_scores": {"self-harm": 0.2}}), Level::None),
        ] {
            let parsed: Scores = serde_json::from_value(scores.clone()).unwrap();
            assert_eq!(parsed.level(), want, "{scores}");
        }
    }
}
