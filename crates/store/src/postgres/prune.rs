//! Retention. Several cores may prune at once: each skips rows that another has locked.

use super::error::PostgresError;
use super::pooled_connection::PooledConnection;
use super::queries::get;
use super::tokens;
use crate::error::StoreError;
use crate::model::Cutoffs;
use crate::rows::column;

/// Sessions pruned in one transaction.
const BATCH: usize = 32;

/// Deletes sessions that never had an entry. The condition is repeated outside of the subquery, which sees
/// the row as it was before its lock. An array, because a joined subquery may run more than once, and
/// then its limit would not hold.
const EMPTY: &str = "DELETE FROM sessions WHERE seq = 0 AND oldest_at IS NULL AND last_seen < $1 AND user_id = ANY(ARRAY \
    (SELECT user_id FROM sessions WHERE seq = 0 AND oldest_at IS NULL AND last_seen < $1 LIMIT $2 \
     FOR UPDATE SKIP LOCKED))";
/// Deletes sessions without any entry left: a retained entry keeps its session.
const WITHOUT_ENTRIES: &str = "DELETE FROM sessions WHERE oldest_at IS NULL AND last_seen < $1 AND user_id = ANY(ARRAY \
    (SELECT user_id FROM sessions WHERE oldest_at IS NULL AND last_seen < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))";
const WITH_OLD_ENTRIES: &str = "SELECT user_id FROM sessions WHERE oldest_at < $1 \
    ORDER BY oldest_at LIMIT $2 FOR UPDATE SKIP LOCKED";
const INACTIVE: &str = "SELECT user_id FROM sessions WHERE oldest_at IS NOT NULL AND last_seen < $1 \
    ORDER BY last_seen LIMIT $2 FOR UPDATE SKIP LOCKED";
/// Deletes the oldest entries of a session before the first retained one, with a summary that has lost its
/// first message.
const ENTRIES: &str = "WITH first AS ( \
        SELECT seq, at FROM entries WHERE user_id = $1 ORDER BY seq LIMIT $3::bigint + 1 \
    ), kept AS ( \
        SELECT seq, at FROM first WHERE $2 <= at OR seq = (SELECT seq FROM first ORDER BY seq OFFSET $3 LIMIT 1) ORDER BY seq LIMIT 1 \
    ), removed AS ( \
        DELETE FROM entries WHERE user_id = $1 AND seq IN \
            (SELECT seq FROM first WHERE seq < coalesce((SELECT seq FROM kept), 9223372036854775807)) \
        RETURNING seq \
    ), forgotten AS ( \
        DELETE FROM summaries WHERE user_id = $1 AND first_seq <= (SELECT max(seq) FROM removed) \
    ) \
    UPDATE sessions SET swept = greatest(swept, (SELECT max(seq) FROM removed)), oldest_at = (SELECT at FROM kept) \
    WHERE user_id = $1 RETURNING (SELECT count(*) FROM removed) AS removed";

/// Sessions whose entries are pruned, in milliseconds since 1970.
#[derive(Clone, Copy)]
struct Selection<'a> {
    sql: &'a str,
    /// Parameter of `sql`.
    before: i64,
    /// Retains entries from this time on.
    kept: i64,
}

pub(super) async fn prune(
    connection: &mut PooledConnection,
    cutoffs: Cutoffs,
    limit: usize,
) -> Result<usize, StoreError> {
    tokens::prune_links(connection, cutoffs.now).await?;
    let mut left = limit;
    left -= delete(connection, EMPTY, cutoffs.empty_before.unix_ms(), left).await?;
    // All entries of inactive sessions, then expired ones of the others.
    let selections = [
        cutoffs.inactive_before.map(|since| Selection { sql: INACTIVE, before: since.unix_ms(), kept: i64::MAX }),
        cutoffs.entries_before.map(|kept| Selection {
            sql: WITH_OLD_ENTRIES,
            before: kept.unix_ms(),
            kept: kept.unix_ms(),
        }),
    ];
    for selection in selections.into_iter().flatten() {
        while 0 < left {
            let Some(removed) = prune_entries(connection, selection, left).await? else { break };
            left -= removed.min(left);
        }
        left -= delete(connection, WITHOUT_ENTRIES, selection.before, left).await?;
    }
    Ok(limit - left)
}

async fn delete(
    connection: &mut PooledConnection,
    sql: &str,
    before: i64,
    limit: usize,
) -> Result<usize, PostgresError> {
    let deleted = connection.execute(sql, &[&before, &column(limit as u64)]).await?;
    Ok(usize::try_from(deleted).unwrap_or(limit).min(limit))
}

/// Removes up to `limit` entries older than `kept` of a batch of selected sessions; `None` if no session was
/// selected.
async fn prune_entries(
    connection: &mut PooledConnection,
    selection: Selection<'_>,
    limit: usize,
) -> Result<Option<usize>, StoreError> {
    let Selection { sql, before, kept } = selection;
    let mut transaction = connection.begin().await?;
    let sessions = transaction.query(sql, &[&before, &column(BATCH.min(limit) as u64)]).await?;
    let mut removed = 0;
    // The sessions are locked, so each statement sees every appended entry.
    for session in &sessions {
        let user_id: i64 = get(session, "user_id")?;
        let limit = column(limit.saturating_sub(removed) as u64);
        if limit == 0 {
            break;
        }
        let rows = transaction.query(ENTRIES, &[&user_id, &kept, &limit]).await?;
        let count = rows.first().map(|row| get::<i64>(row, "removed")).transpose()?.unwrap_or(0);
        removed += usize::try_from(count).unwrap_or(0);
    }
    transaction.commit().await?;
    Ok((!sessions.is_empty()).then_some(removed))
}
