//! Counts of displayed help.

use store::{ReferralBatch, ReferralCount};

use super::fixture::Fixture;

fn count(month: &str, kind: &str, level: &str, language: &str, count: u64) -> ReferralCount {
    let [month, kind, level, language] = [month, kind, level, language].map(str::to_owned);
    ReferralCount { month, kind, level, language, count }
}

#[tokio::test]
async fn batches_are_idempotent_and_grouped_by_year() {
    for fixture in Fixture::all() {
        let store = fixture.open().await;
        assert_eq!(store.referrals(2026).await.unwrap(), [], "{}", fixture.name);
        let first = ReferralBatch {
            // The highest bit is the sign of the column.
            source: u64::MAX,
            number: 1,
            counts: vec![
                count("2026-12", "suicide", "high", "es", 2),
                count("2026-02", "none", "concern", "en", 1),
                count("2027-01", "abuse", "concern", "es", 5),
            ],
        };
        let of_another = ReferralBatch { source: 7, ..first.clone() };
        let second =
            ReferralBatch { number: 2, counts: vec![count("2026-12", "suicide", "high", "es", 3)], ..first.clone() };
        for batch in [&first, &first, &of_another, &second, &first, &second] {
            store.count_referrals(batch.clone()).await.unwrap();
        }
        let want = [count("2026-02", "none", "concern", "en", 2), count("2026-12", "suicide", "high", "es", 7)];
        assert_eq!(store.referrals(2026).await.unwrap(), want, "{}", fixture.name);
        assert_eq!(
            store.referrals(2027).await.unwrap(),
            [count("2027-01", "abuse", "concern", "es", 10)],
            "{}",
            fixture.name
        );
        drop(store);
        assert_eq!(fixture.open().await.referrals(2026).await.unwrap(), want, "{}: after a restart", fixture.name);
    }
}

#[tokio::test]
async fn numbers_of_earlier_months_are_deleted_and_counts_kept() {
    for fixture in Fixture::databases() {
        let store = fixture.open().await;
        for (source, month) in [(1, "2026-01"), (2, "2026-01"), (3, "2026-02"), (3, "2026-03")] {
            let counts = vec![count(month, "suicide", "high", "es", 1)];
            let number = u64::from(month == "2026-03") + 1;
            store.count_referrals(ReferralBatch { source, number, counts }).await.unwrap();
        }
        assert_eq!(fixture.sql("SELECT count(*) FROM referral_batches"), "1", "{}", fixture.name);
        assert_eq!(store.referrals(2026).await.unwrap().iter().map(|it| it.count).sum::<u64>(), 4, "{}", fixture.name);
    }
}

#[tokio::test]
async fn concurrent_batches_add_up() {
    for fixture in Fixture::databases() {
        let store = fixture.open().await;
        let count_all = |source| {
            let store = &store;
            async move {
                for number in 1..=20 {
                    let counts = ["es", "en"].map(|language| count("2026-11", "suicide", "high", language, 1)).to_vec();
                    store.count_referrals(ReferralBatch { source, number, counts }).await.unwrap();
                }
            }
        };
        futures_util::future::join_all((1..=4).map(count_all)).await;
        let counts: Vec<_> = store.referrals(2026).await.unwrap().into_iter().map(|it| it.count).collect();
        assert_eq!(counts, [80, 80], "{}", fixture.name);
    }
}
