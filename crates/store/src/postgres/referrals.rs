//! Counts of displayed help.

use super::pooled_connection::PooledConnection;
use super::queries::get;
use crate::error::StoreError;
use crate::model::{ReferralBatch, ReferralCount};
use crate::rows::{column, number};

/// Adds a batch atomically in one round trip. `forgotten` deletes the numbers of processes that ended in
/// earlier months.
const COUNT: &str = "WITH fresh AS ( \
        INSERT INTO referral_batches AS known (source, number, month) VALUES ($1, $2, $3) \
        ON CONFLICT (source) DO UPDATE SET number = excluded.number, month = excluded.month \
        WHERE known.number < excluded.number RETURNING source \
    ), forgotten AS ( \
        DELETE FROM referral_batches WHERE month < $3 AND source <> $1 \
    ) \
    INSERT INTO referrals AS known (month, kind, level, language, count) \
    SELECT added.month, added.kind, added.level, added.language, added.count \
    FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[]) AS added (month, kind, level, language, count) \
    WHERE EXISTS (SELECT FROM fresh) ORDER BY 1, 2, 3, 4 \
    ON CONFLICT (month, kind, level, language) DO UPDATE SET count = known.count + excluded.count";

pub(super) async fn count(connection: &mut PooledConnection, batch: &ReferralBatch) -> Result<(), StoreError> {
    let texts = |text: fn(&ReferralCount) -> &str| -> Vec<&str> { batch.counts.iter().map(text).collect() };
    let counts: Vec<i64> = batch.counts.iter().map(|it| column(it.count)).collect();
    connection
        .execute(
            COUNT,
            &[
                &batch.source.cast_signed(),
                &column(batch.number),
                &batch.latest_month(),
                &texts(|it| &it.month),
                &texts(|it| &it.kind),
                &texts(|it| &it.level),
                &texts(|it| &it.language),
                &counts,
            ],
        )
        .await?;
    Ok(())
}

pub(super) async fn of_year(connection: &mut PooledConnection, year: u16) -> Result<Vec<ReferralCount>, StoreError> {
    let sql = "SELECT month, kind, level, language, count FROM referrals WHERE month BETWEEN $1 AND $2 \
               ORDER BY month, kind, level, language";
    let rows = connection.query(sql, &[&format!("{year:04}-01"), &format!("{year:04}-12")]).await?;
    let count = |row| {
        Ok(ReferralCount {
            month: get(row, "month")?,
            kind: get(row, "kind")?,
            level: get(row, "level")?,
            language: get(row, "language")?,
            count: number(get(row, "count")?)?,
        })
    };
    rows.iter().map(count).collect()
}
