//! Counts of displayed help.

use rusqlite::{Connection, params};

use crate::error::StoreError;
use crate::model::{ReferralBatch, ReferralCount};
use crate::rows::{column, number};

pub(super) fn count(db: &Connection, batch: &ReferralBatch) -> Result<(), StoreError> {
    let ReferralBatch { source, number, counts } = batch;
    let month = batch.latest_month();
    let sql = "INSERT INTO referral_batches (source, number, month) VALUES (?1, ?2, ?3) \
               ON CONFLICT (source) DO UPDATE SET number = excluded.number, month = excluded.month \
               WHERE number < excluded.number";
    if db.prepare_cached(sql)?.execute(params![source.cast_signed(), column(*number), month])? == 0 {
        return Ok(());
    }
    // Processes of earlier months have ended and retry nothing.
    db.prepare_cached("DELETE FROM referral_batches WHERE month < ?1 AND source <> ?2")?
        .execute(params![month, source.cast_signed()])?;
    let sql = "INSERT INTO referrals (month, kind, level, language, count) VALUES (?1, ?2, ?3, ?4, ?5) \
               ON CONFLICT (month, kind, level, language) DO UPDATE SET count = count + excluded.count";
    let mut add = db.prepare_cached(sql)?;
    for ReferralCount { month, kind, level, language, count } in counts {
        add.execute(params![month, kind, level, language, column(*count)])?;
    }
    Ok(())
}

pub(super) fn of_year(db: &Connection, year: u16) -> Result<Vec<ReferralCount>, StoreError> {
    let sql = "SELECT month, kind, level, language, count FROM referrals WHERE month BETWEEN ?1 AND ?2 \
               ORDER BY month, kind, level, language";
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([format!("{year:04}-01"), format!("{year:04}-12")], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get::<_, i64>(4)?))
    })?;
    let mut counts = Vec::new();
    for row in rows {
        let (month, kind, level, language, count) = row?;
        counts.push(ReferralCount { month, kind, level, language, count: number(count)? });
    }
    Ok(counts)
}
