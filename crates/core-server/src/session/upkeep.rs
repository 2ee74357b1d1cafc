//! Work in the background: what has come together in memory is stored, so that nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Sessions;
use crate::store::StoreError;
use crate::turn::now;

/// How often counts of help, and who has opened a session, are stored: as much is lost with a core that is killed.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);
/// Time for the last flush, when the server goes away.
const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How often cores tell each other what they have used of the day's tokens.
const TOKENS_INTERVAL: Duration = Duration::from_secs(1);
const DAY_MS: u64 = 86_400_000;

impl Sessions {
    /// Stores again and again what has come together. Does not end.
    pub async fn flush_forever(self: Arc<Self>) {
        let mut ticks = interval(FLUSH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.flush().await {
                tracing::debug!(%error, "counts not stored yet");
            }
        }
    }

    /// Stores what has come together, if the store takes it in time.
    pub async fn flush_at_end(&self) {
        match timeout(FINAL_FLUSH_TIMEOUT, self.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last counts were not stored"),
            Err(_) => tracing::warn!("the last counts were not stored in time"),
        }
    }

    async fn flush(&self) -> Result<(), StoreError> {
        let turns = self.turns();
        let opened_users = self.take_opened_users();
        if !opened_users.is_empty()
            && let Err(error) = turns.store.touch(&opened_users, now()).await
        {
            self.restore_opened_users(opened_users);
            return Err(error);
        }
        turns.referrals.flush(&*turns.store).await
    }

    /// Keeps the tokens of the day: says when one begins, and agrees with the other cores. Ends at once where
    /// there is no limit.
    pub async fn count_tokens_forever(self: Arc<Self>) {
        let turns = self.turns();
        let Some(tokens) = turns.model.as_ref().map(|model| model.tokens()).filter(|it| it.limit().is_some()) else {
            return;
        };
        let mut ticks = interval(TOKENS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            tokens.begin_day(u64::try_from(now().unix_ms()).unwrap_or_default() / DAY_MS);
            let Some(cluster) = &turns.cluster else { continue };
            let report = tokens.report();
            match cluster.add_tokens(report.day, report.known, report.added).await {
                Some(total) => tokens.reconcile(report, total),
                None => tokens.use_own_share(cluster.members()),
            }
        }
    }
}
