//! Summaries: read with the latest entries in one round trip.

use protocol::UserLabel;
use tokio_postgres::Row;

use super::pooled_connection::PooledConnection;
use super::queries::{self, get};
use crate::error::StoreError;
use crate::keys::Keyring;
use crate::model::{Recent, Summary};
use crate::rows::{SummaryRow, column, number, readable_summary};

/// Selects the latest entries, with the summary in the newest row only, so that it is sent once.
const RECENT: &str = "SELECT e.*, y.first_seq, y.last_seq, y.key_id AS summary_key_id, y.text AS summary_text \
    FROM sessions s LEFT JOIN LATERAL \
    (SELECT seq, message_id, role, key_id, text, at, finish, source, row_number() OVER (ORDER BY seq DESC) AS place \
     FROM entries WHERE user_id = s.user_id ORDER BY seq DESC LIMIT $2) e ON true \
    LEFT JOIN summaries y ON y.user_id = s.user_id AND coalesce(e.place, 1) = 1 \
    WHERE s.user_id = $1 ORDER BY e.seq";

/// Stores a summary. Appends, retention and erasure also update the session's row, so its lock orders them:
/// the conditions are evaluated once it is held. Replaces only a summary that reaches less far, and
/// only while every summarized message exists.
const PUT: &str = "WITH place AS ( \
        SELECT user_id FROM sessions WHERE user_id = $1 AND swept < $2 \
            AND EXISTS (SELECT FROM entries WHERE user_id = $1 AND seq = $3) FOR NO KEY UPDATE \
    ), stored AS ( \
        INSERT INTO summaries (user_id, first_seq, last_seq, key_id, text) \
        SELECT user_id, $2, $3, $4::bigint, $5::bytea FROM place \
        ON CONFLICT (user_id) DO UPDATE SET first_seq = excluded.first_seq, last_seq = excluded.last_seq, \
            key_id = excluded.key_id, text = excluded.text \
        WHERE summaries.last_seq < excluded.last_seq RETURNING user_id \
    ) \
    SELECT EXISTS (SELECT FROM stored) AS stored FROM sessions WHERE user_id = $1";

/// Replaces the summary by one without text that covers the session's entries.
const FORGET: &str = "WITH stored AS ( \
        INSERT INTO summaries (user_id, first_seq, last_seq, key_id, text) \
        SELECT user_id, seq, seq, NULL, '' FROM sessions WHERE user_id = $1 AND swept < seq FOR NO KEY UPDATE \
        ON CONFLICT (user_id) DO UPDATE SET first_seq = excluded.first_seq, last_seq = excluded.last_seq, \
            key_id = excluded.key_id, text = excluded.text \
    ) \
    SELECT FROM sessions WHERE user_id = $1";

pub(super) async fn forget(connection: &mut PooledConnection, user: UserLabel) -> Result<(), StoreError> {
    let rows = connection.query(FORGET, &[&column(user.0)]).await?;
    if rows.is_empty() { Err(StoreError::NoSession { user }) } else { Ok(()) }
}

pub(super) async fn recent(
    connection: &mut PooledConnection,
    keys: &Keyring,
    user: UserLabel,
    limit: usize,
) -> Result<Recent, StoreError> {
    let rows = connection.query(RECENT, &[&column(user.0), &column(limit as u64)]).await?;
    let last = queries::decrypt_readable(&rows, user, keys)?;
    let older = match last.replacements(limit) {
        Some(page) => queries::readable_entries(connection, keys, user, page).await?.entries,
        None => Vec::new(),
    };
    let summary = match rows.last() {
        Some(newest) => readable_summary(stored(newest, user, keys), user)?,
        None => None,
    };
    Ok(Recent { summary, entries: [older, last.entries].concat() })
}

fn stored(newest: &Row, user: UserLabel, keys: &Keyring) -> Result<Option<Summary>, StoreError> {
    summary(newest)?.map(|row| row.read(user, keys)).transpose()
}

fn summary(row: &Row) -> Result<Option<SummaryRow>, StoreError> {
    let Some(first_seq) = get(row, "first_seq")? else { return Ok(None) };
    Ok(Some(SummaryRow {
        first_seq,
        last_seq: get(row, "last_seq")?,
        key_id: get(row, "summary_key_id")?,
        text: get(row, "summary_text")?,
    }))
}

pub(super) async fn put(
    connection: &mut PooledConnection,
    keys: &Keyring,
    user: UserLabel,
    summary: &Summary,
) -> Result<bool, StoreError> {
    let sealed = keys.seal_summary(user, summary);
    let (user_id, first, last) = (column(user.0), column(summary.first), column(summary.last));
    let key = sealed.key.map(|id| id.0);
    let rows = connection.query(PUT, &[&user_id, &first, &last, &key, &sealed.bytes]).await?;
    get(rows.first().ok_or(StoreError::NoSession { user })?, "stored")
}

/// Re-encrypts the summaries of `users` that are not under the current key.
pub(super) async fn reencrypt(
    connection: &mut PooledConnection,
    keys: &Keyring,
    users: &[i64],
) -> Result<(), StoreError> {
    let key = keys.current_id().map(|id| id.0);
    let sql = "SELECT user_id, first_seq, last_seq, key_id AS summary_key_id, text AS summary_text FROM summaries \
               WHERE user_id = ANY($1) AND key_id IS DISTINCT FROM $2";
    for row in &connection.query(sql, &[&users, &key]).await? {
        let user_id: i64 = get(row, "user_id")?;
        let user = UserLabel(number(user_id)?);
        let Some(stale) = summary(row)? else { continue };
        let (last, under) = (stale.last_seq, stale.key_id);
        let summary = match stale.read(user, keys) {
            Err(error @ StoreError::Damaged(_)) => {
                tracing::error!(%user, %error, "damaged summary left unchanged");
                continue;
            }
            read => read?,
        };
        let sealed = keys.seal_summary(user, &summary);
        // Another core may have replaced it by a later one, which is sealed under its current key.
        let sql = "UPDATE summaries SET key_id = $1, text = $2 \
                   WHERE user_id = $3 AND last_seq = $4 AND key_id IS NOT DISTINCT FROM $5";
        connection.execute(sql, &[&key, &sealed.bytes, &user_id, &last, &under]).await?;
    }
    Ok(())
}
