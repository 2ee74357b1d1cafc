//! Tokens of the model that all cores have used in a day.

use std::time::Duration;

use super::Shared;
use super::scripts::TOKENS;

/// How long a day is remembered: over its end wherever clocks differ.
const DAY_KEPT: Duration = Duration::from_secs(2 * 86_400);

impl Shared {
    /// Adds `added` to the tokens of `day`, of which at least `known` were used before, and returns what all cores
    /// have used; `None` where Redis is gone.
    pub async fn add_tokens(&self, day: u64, known: u64, added: u64) -> Option<u64> {
        self.ask(async |redis, _| {
            TOKENS.key(self.keys.tokens(day)).arg(known).arg(added).arg(DAY_KEPT.as_secs()).invoke_async(redis).await
        })
        .await
    }
}
