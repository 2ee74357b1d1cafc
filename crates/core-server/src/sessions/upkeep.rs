//! Background flush of counts in memory to the store, so that no request waits for it.

use std::sync::Arc;
use std::time::Duration;

use store::StoreError;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Sessions;
use crate::turn::now;

/// Interval of the flush; a killed core loses at most this much of its counts.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);
/// Timeout of the last flush, part of the drain: the store may be away.
const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval at which cores add their used tokens to the day's total in Redis.
const TOKENS_INTERVAL: Duration = Duration::from_secs(1);
const DAY_MS: u64 = 86_400_000;

impl Sessions {
    /// Flushes counts at every `FLUSH_INTERVAL`. Never returns.
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

    /// Flushes a last time, within `FINAL_FLUSH_TIMEOUT`.
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

    /// Keeps the day's token count: starts each day, and reconciles with the other cores. Returns at once if there is no
    /// limit.
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
