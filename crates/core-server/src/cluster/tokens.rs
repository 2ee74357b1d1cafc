//! Tokens of the model that all cores have used in a day.

use std::time::Duration;

use super::Cluster;
use super::scripts::ADD_TOKENS;

/// How long a day is remembered: over its end wherever clocks differ.
const DAY_TTL: Duration = Duration::from_secs(2 * 86_400);

impl Cluster {
    /// Adds `added` to the tokens of `day`, of which at least `known` were used before, and returns what all cores
    /// have used; `None` where Redis is gone.
    pub async fn add_tokens(&self, day: u64, known: u64, added: u64) -> Option<u64> {
        self.query(async |redis, _| {
            ADD_TOKENS.key(self.keys.tokens(day)).arg(known).arg(added).arg(DAY_TTL.as_secs()).invoke_async(redis).await
        })
        .await
    }
}
