//! Summaries: read with the latest entries, written within the writer's transaction.

use protocol::UserLabel;
use rusqlite::{Connection, params};

use super::queries;
use crate::error::StoreError;
use crate::keys::{KeyId, Keyring};
use crate::model::{Page, Recent, Summary};
use crate::rows::{column, readable_summary};

/// Reads the last `limit` readable entries and the summary; returns whether every row was an
/// entry and readable.
pub(super) fn recent(
    db: &Connection,
    keys: &Keyring,
    user: UserLabel,
    limit: usize,
) -> Result<(Recent, bool), StoreError> {
    let last = queries::readable_entries(db, keys, user, Page::Before { seq: u64::MAX, limit })?;
    let older = match last.replacements(limit) {
        Some(page) => queries::readable_entries(db, keys, user, page)?.entries,
        None => Vec::new(),
    };
    let summary = stored(db, keys, user);
    let is_whole = last.is_whole() && summary.is_ok();
    let summary = readable_summary(summary, user)?;
    Ok((Recent { summary, entries: [older, last.entries].concat() }, is_whole))
}

fn stored(db: &Connection, keys: &Keyring, user: UserLabel) -> Result<Option<Summary>, StoreError> {
    queries::summary(db, user)?.map(|row| row.read(user, keys)).transpose()
}

/// Replaces a stored summary only by one that reaches further, and only while every summarized message exists.
pub(super) fn put(db: &Connection, keys: &Keyring, user: UserLabel, summary: &Summary) -> Result<bool, StoreError> {
    if !queries::exists(db, user)? {
        return Err(StoreError::NoSession { user });
    }
    let sealed = keys.seal_summary(user, summary);
    let sql = "INSERT INTO summaries (user_id, first_seq, last_seq, key_id, text) \
               SELECT user_id, ?2, ?3, ?4, ?5 FROM sessions WHERE user_id = ?1 AND swept < ?2 \
                   AND EXISTS (SELECT 1 FROM entries WHERE user_id = ?1 AND seq = ?3) \
               ON CONFLICT (user_id) DO UPDATE SET first_seq = excluded.first_seq, last_seq = excluded.last_seq, \
                   key_id = excluded.key_id, text = excluded.text \
               WHERE summaries.last_seq < excluded.last_seq";
    let (first, last) = (column(summary.first), column(summary.last));
    let columns = params![column(user.0), first, last, sealed.key.map(|id| id.0), sealed.bytes];
    Ok(0 < db.prepare_cached(sql)?.execute(columns)?)
}

/// Deletes the summary of a session if its first message is not after `swept`.
pub(super) fn delete(db: &Connection, user_id: i64, swept: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM summaries WHERE user_id = ?1 AND first_seq <= ?2";
    db.prepare_cached(sql)?.execute([user_id, swept]).map(drop)
}

/// Replaces the summary by one without text that covers the session's entries.
pub(super) fn forget(db: &Connection, user: UserLabel) -> Result<(), StoreError> {
    if !queries::exists(db, user)? {
        return Err(StoreError::NoSession { user });
    }
    let sql = "INSERT OR REPLACE INTO summaries (user_id, first_seq, last_seq, key_id, text) \
               SELECT user_id, seq, seq, NULL, x'' FROM sessions WHERE user_id = ?1 AND swept < seq";
    db.prepare_cached(sql)?.execute([column(user.0)])?;
    Ok(())
}

/// Deletes a summary that draws on the message at `seq`.
pub(super) fn delete_from(db: &Connection, user_id: i64, seq: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM summaries WHERE user_id = ?1 AND ?2 <= last_seq AND text <> x''";
    db.prepare_cached(sql)?.execute([user_id, seq]).map(drop)
}

/// Re-encrypts the summary of `user` unless it is under the current key.
pub(super) fn reencrypt(db: &Connection, keys: &Keyring, user: UserLabel) -> Result<(), StoreError> {
    let stale = queries::summary(db, user)?.filter(|row| row.key_id.map(KeyId) != keys.current_id());
    let Some(row) = stale else { return Ok(()) };
    let summary = match row.read(user, keys) {
        Err(error @ StoreError::Damaged(_)) => {
            tracing::error!(%user, %error, "damaged summary left unchanged");
            return Ok(());
        }
        read => read?,
    };
    let sealed = keys.seal_summary(user, &summary);
    let sql = "UPDATE summaries SET key_id = ?2, text = ?3 WHERE user_id = ?1";
    db.prepare_cached(sql)?.execute(params![column(user.0), sealed.key.map(|id| id.0), sealed.bytes])?;
    Ok(())
}
