//! Daily count of model tokens used by all cores.

use std::time::Duration;

use crate::member::Cluster;
use crate::scripts::ADD_TOKENS;

/// Two days: a count outlives its day even where the clocks of cores differ.
const DAY_TTL: Duration = Duration::from_secs(2 * 86_400);

impl Cluster {
    /// Adds `added` to the tokens of `day` (days since 1970), of which at least `known` were used before.
    /// Returns the sum of all cores; `None` without Redis.
    pub async fn add_tokens(&self, day: u64, known: u64, added: u64) -> Option<u64> {
        self.query(async |redis, _| {
            ADD_TOKENS.key(self.keys.tokens(day)).arg(known).arg(added).arg(DAY_TTL.as_secs()).invoke_async(redis).await
        })
        .await
    }
}
