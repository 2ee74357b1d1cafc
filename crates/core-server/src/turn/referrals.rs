//! Counts of shown help, without any person in them.
//!
//! A count is an addition in memory; [`Referrals::flush`] writes the counts to the store. Showing help never waits for
//! it, and a killed core loses at most the counts since its last flush.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::{Language, Timestamp};
use safety::{Kind, Level};
use store::{ReferralBatch, ReferralCount, Store, StoreError};

/// Counts that wait for the store.
#[derive(Debug)]
pub struct Referrals {
    /// Random id of this process among those that count in one database.
    source: u64,
    waiting: Mutex<Waiting>,
    /// Held over a flush, so that batches reach the store in the order of their numbers.
    flushing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    counts: BTreeMap<Key, u64>,
    /// Sent to the store, and not acknowledged yet.
    sent: Option<ReferralBatch>,
    last_number: u64,
}

/// Month, kind, level, language.
type Key = (String, &'static str, &'static str, &'static str);

/// Returns the month of `at` in UTC, as `2026-12`.
fn month(at: Timestamp) -> String {
    at.to_string().chars().take("2026-12".len()).collect()
}

impl Default for Referrals {
    fn default() -> Self {
        Self { source: fastrand::u64(..), waiting: Mutex::default(), flushing: tokio::sync::Mutex::default() }
    }
}

impl Referrals {
    /// Counts help that is shown at `at` for `kind` of risk at `level`, in `language`. Does not block.
    pub fn note(&self, at: Timestamp, kind: Option<Kind>, level: Level, language: Language) {
        let key = (month(at), kind.map_or("none", Kind::name), level.name(), language.code());
        *self.waiting().counts.entry(key).or_default() += 1;
    }

    /// Writes the counts to `store`. A failed batch is sent again by the next flush under the same number, which makes it
    /// idempotent.
    ///
    /// # Errors
    ///
    /// The store failed; nothing is lost.
    pub async fn flush(&self, store: &dyn Store) -> Result<(), StoreError> {
        let _flushing = self.flushing.lock().await;
        // At most two batches: the one of a failed flush goes first.
        while let Some(batch) = self.next_batch() {
            store.count_referrals(batch).await?;
            self.waiting().sent = None;
        }
        Ok(())
    }

    fn next_batch(&self) -> Option<ReferralBatch> {
        let mut waiting = self.waiting();
        if waiting.sent.is_none() && !waiting.counts.is_empty() {
            waiting.last_number += 1;
            let counts = std::mem::take(&mut waiting.counts);
            let count = |((month, kind, level, language), count): (Key, u64)| ReferralCount {
                month,
                kind: kind.to_owned(),
                level: level.to_owned(),
                language: language.to_owned(),
                count,
            };
            let counts = counts.into_iter().map(count).collect();
            waiting.sent = Some(ReferralBatch { source: self.source, number: waiting.last_number, counts });
        }
        waiting.sent.clone()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use store::MemoryStore;

    use super::*;

    /// 2026-12-31 23:59:59 UTC, in milliseconds.
    const NEW_YEARS_EVE: i64 = 1_798_761_599_000;

    #[test]
    fn month_is_utc() {
        for (ms, want) in [(NEW_YEARS_EVE, "2026-12"), (NEW_YEARS_EVE + 1_000, "2027-01"), (0, "1970-01")] {
            assert_eq!(month(Timestamp::from_unix_ms(ms)), want);
        }
    }

    #[tokio::test]
    async fn counts_sum_over_flushes_and_months() {
        let (referrals, store) = (Referrals::default(), MemoryStore::default());
        let (december, january) =
            (Timestamp::from_unix_ms(NEW_YEARS_EVE), Timestamp::from_unix_ms(NEW_YEARS_EVE + 1_000));
        referrals.flush(&store).await.unwrap();
        for _ in 0..2 {
            referrals.note(december, Some(Kind::Suicide), Level::High, Language::Spanish);
            referrals.note(december, None, Level::Concern, Language::English);
            referrals.note(january, Some(Kind::Suicide), Level::High, Language::Spanish);
            referrals.flush(&store).await.unwrap();
        }
        let lines = |counts: Vec<ReferralCount>| -> Vec<String> {
            let line =
                |it: ReferralCount| format!("{} {} {} {} {}", it.month, it.kind, it.level, it.language, it.count);
            counts.into_iter().map(line).collect()
        };
        assert_eq!(
            lines(store.referrals(2026).await.unwrap()),
            ["2026-12 none concern en 2", "2026-12 suicide high es 2"]
        );
        assert_eq!(lines(store.referrals(2027).await.unwrap()), ["2027-01 suicide high es 2"]);
    }
}
