//! Hourly sweep: removes entries and sessions past their retention.

use std::sync::Arc;
use std::time::Duration;

use protocol::Timestamp;
use store::{Cutoffs, StoreError, upgrade_legacy_entries};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Sessions;
use crate::turn::now;

/// Interval between two sweeps; retention is configured in days.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3_600);
/// Rows per transaction: few, so that writers wait briefly.
const BATCH_ROWS: usize = 200;
/// Pause between two batches, for the writers that wait.
const BATCH_PAUSE: Duration = Duration::from_millis(50);
/// Retention of a session without entries, such as that of a page that was opened and closed.
const EMPTY_RETENTION: Duration = Duration::from_secs(86_400);

impl Sessions {
    /// Removes, now and every hour: entries older than [`super::SessionLimits::retention`] and sessions unused for as
    /// long; conversations not opened for [`super::SessionLimits::unreached`]; and empty sessions. Never returns.
    pub async fn sweep_forever(self: Arc<Self>) {
        let mut ticks = interval(SWEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = upgrade_legacy_entries(&*self.turns().store, BATCH_PAUSE).await {
                tracing::error!(%error, "failed to convert entries of an earlier version");
            }
            match self.sweep(self.limits().retention).await {
                Ok(0) => {}
                Ok(rows) => tracing::info!(rows, "old entries and sessions removed"),
                Err(error) => tracing::error!(%error, "old entries and sessions could not be removed"),
            }
        }
    }

    async fn sweep(&self, retention: Option<Duration>) -> Result<usize, StoreError> {
        let live = self.users();
        let store = &self.turns().store;
        let now = now();
        // A live session is in use, even if its person writes nothing for days.
        store.touch(&live, now).await?;
        let cutoffs = Cutoffs {
            now,
            empty_before: before(now, EMPTY_RETENTION),
            entries_before: retention.map(|kept| before(now, kept)),
            inactive_before: self.limits().unreached.map(|kept| before(now, kept)),
        };
        let mut removed = 0;
        loop {
            let batch = store.prune(cutoffs, BATCH_ROWS).await?;
            removed += batch;
            if batch < BATCH_ROWS {
                return Ok(removed);
            }
            // SQLite has one writer: waiting writers go between two batches.
            sleep(BATCH_PAUSE).await;
        }
    }
}

fn before(now: Timestamp, ago: Duration) -> Timestamp {
    let ago_ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(now.unix_ms().saturating_sub(ago_ms))
}

#[cfg(test)]
pub(super) mod tests {
    use limits::{ConcurrencyLimiter, RateLimit};
    use protocol::{Locale, ResumeSecret, ResumeToken, SessionId};
    use store::{MemoryStore, NewSession, Store as _};
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::sessions::SessionLimits;
    use crate::turn::{Budget, BudgetSettings, Context, ContextSettings, Referrals, Summarizer, TurnService};

    /// Returns sessions on `store`, without a model or other cores.
    pub(in crate::sessions) fn sessions(store: Arc<MemoryStore>) -> Arc<Sessions> {
        let context = ContextSettings {
            max_entries: 1,
            token_budget: 1.0,
            chars_per_token: 1.0,
            system_prompt: None,
            summary: None,
        };
        let rate = RateLimit { events: 1, window: Duration::from_secs(1) };
        let slots = ConcurrencyLimiter::new(1, 1, Duration::from_secs(1));
        let turns = TurnService {
            store,
            budget: Budget::new(BudgetSettings { rate, address_rate: rate }, Arc::clone(&slots), None),
            slots,
            model: None,
            guard: None,
            context: Context::new(context),
            cluster: None,
            summarizer: Summarizer::new(CancellationToken::new()),
            referrals: Referrals::default(),
            metrics: Arc::default(),
        };
        let limits = SessionLimits {
            per_user_max: 1,
            abandoned_after: Duration::from_secs(1),
            retention: None,
            unreached: None,
        };
        Sessions::new(turns, limits, TaskTracker::new(), CancellationToken::new())
    }

    #[tokio::test]
    async fn sweep_keeps_live_sessions() {
        let store = Arc::new(MemoryStore::default());
        let sessions = sessions(Arc::clone(&store));
        let long_ago = Timestamp::from_unix_ms(0);
        let mut tokens = Vec::new();
        for _ in 0..3 {
            let token = ResumeToken::random();
            let id = SessionId::random();
            let new =
                NewSession { id, token: token.clone(), locale: Locale::default(), country: None, created_at: long_ago };
            store.create_session(new).await.unwrap();
            tokens.push(token);
        }
        let there = sessions.resume(ResumeSecret::Token(tokens[1].clone()), None, None).await.unwrap().unwrap();
        assert_eq!(sessions.sweep(None).await.unwrap(), 2);
        drop(there);
        assert_eq!(sessions.sweep(Some(EMPTY_RETENTION)).await.unwrap(), 0);
        let mut left = Vec::new();
        for token in &tokens {
            left.push(store.session_by_token(token).await.unwrap().is_some());
        }
        assert_eq!(left, [false, true, false]);
        assert!(sessions.users().is_empty());
    }
}
