//! Append of an entry: one statement, one round trip, optimistic concurrency.
//!
//! A text is sealed for its position before it is sent, so the statement stores it only if the session's
//! `seq` is the expected one. All parts of the statement see one snapshot, except that a row locked by
//! another transaction is waited for and re-evaluated: of two appends with the same `seq`, the second
//! changes nothing and is retried.

use protocol::UserLabel;
use protocol::server_frame::Role;

use super::error::PostgresError;
use super::forget;
use super::pooled_connection::PooledConnection;
use super::queries::get;
use crate::content::{self, Content, RowRole, SealedContent};
use crate::error::StoreError;
use crate::keys::Keyring;
use crate::model::{Appended, EntryPosition, NewEntry};
use crate::rows::{LAST_SEEN_GRANULARITY_MS, column, number};

/// Optimistic attempts before the session is locked. Concurrent appends to one session are rare.
const MAX_ATTEMPTS: usize = 3;

const APPEND: &str = "WITH known AS ( \
        SELECT seq, role = $11 AS forgotten FROM entries WHERE user_id = $1 AND message_id = $3 AND role IN ($4, $10, $11) \
    ), numbered AS ( \
        UPDATE sessions SET seq = seq + 1, messages = messages + $5, oldest_at = coalesce(oldest_at, $6), \
            last_seen = CASE WHEN seq = swept OR last_seen < $7 THEN greatest(last_seen, $6) ELSE last_seen END \
        WHERE user_id = $1 AND seq = $2 AND NOT EXISTS (SELECT FROM known) RETURNING seq \
    ), stored AS ( \
        INSERT INTO entries (user_id, seq, message_id, role, key_id, text, at) \
        SELECT $1, seq, $3, $4, $8::bigint, $9::bytea, $6 FROM numbered RETURNING seq \
    ) \
    SELECT (SELECT seq FROM known) AS known, (SELECT forgotten FROM known) AS forgotten, (SELECT seq FROM stored) AS stored, seq AS was \
    FROM sessions WHERE user_id = $1";

/// Outcome of one attempt.
enum AttemptOutcome {
    Done(Appended),
    /// The session's `seq` is not the expected one but probably this.
    Conflict(u64),
}

pub(super) async fn append(
    connection: &mut PooledConnection,
    keys: &Keyring,
    position: EntryPosition,
    entry: &NewEntry,
) -> Result<Appended, StoreError> {
    let mut position = position;
    for _ in 0..MAX_ATTEMPTS {
        match attempt(connection, keys, position, entry).await? {
            AttemptOutcome::Done(appended) => return Ok(appended),
            AttemptOutcome::Conflict(seq) => position.seq = seq,
        }
    }
    append_locked(connection, keys, position.user, entry).await
}

/// Appends under a lock of the session's row.
async fn append_locked(
    connection: &mut PooledConnection,
    keys: &Keyring,
    user: UserLabel,
    entry: &NewEntry,
) -> Result<Appended, StoreError> {
    let mut transaction = connection.begin().await?;
    let sql = "SELECT seq FROM sessions WHERE user_id = $1 FOR UPDATE";
    let locked = transaction.query(sql, &[&column(user.0)]).await?;
    let seq = match locked.first() {
        Some(row) => number(get(row, "seq")?)?,
        None => 0,
    };
    let tried = attempt(&mut transaction, keys, EntryPosition { user, seq }, entry).await?;
    transaction.commit().await?;
    match tried {
        AttemptOutcome::Done(appended) => Ok(appended),
        AttemptOutcome::Conflict(_) => Err(StoreError::unavailable("a locked session was changed")),
    }
}

/// Appends after `position`, if that is the session's last entry.
async fn attempt(
    connection: &mut PooledConnection,
    keys: &Keyring,
    position: EntryPosition,
    entry: &NewEntry,
) -> Result<AttemptOutcome, StoreError> {
    let EntryPosition { user, seq: after } = position;
    let next = EntryPosition { user, seq: after.saturating_add(1) };
    let forgotten = content::tag(keys, position, &entry.id, RowRole::Forgotten);
    let SealedContent { tag, sealed } = Content::of(entry).seal(keys, next, &entry.id);
    let (user_id, at) = (column(user.0), entry.at.unix_ms());
    let counted = i64::from(entry.role == Role::User);
    let parameters = [
        &user_id as &(dyn tokio_postgres::types::ToSql + Sync),
        &column(after),
        &entry.id.as_str(),
        &tag,
        &counted,
        &at,
        &(at - LAST_SEEN_GRANULARITY_MS),
        &sealed.key.map(|id| id.0),
        &sealed.bytes,
        &content::legacy_role(entry.role),
        &forgotten,
    ];
    match connection.query(APPEND, &parameters).await {
        Ok(rows) => {
            let row = rows.first().ok_or(StoreError::NoSession { user })?;
            if let Some(true) = get::<Option<bool>>(row, "forgotten")? {
                // Removed meanwhile only by retention: the next attempt stores the entry.
                let tombstone = forget::tombstone(connection, keys, user, &entry.id).await?;
                Ok(tombstone.map_or(AttemptOutcome::Conflict(after), |tombstone| {
                    AttemptOutcome::Done(Appended::Forgotten(tombstone.forgotten))
                }))
            } else if let Some(seq) = get::<Option<i64>>(row, "known")? {
                Ok(AttemptOutcome::Done(Appended::Existing { seq: number(seq)? }))
            } else if get::<Option<i64>>(row, "stored")?.is_some() {
                Ok(AttemptOutcome::Done(Appended::New(entry.clone().numbered(next.seq))))
            } else {
                Ok(AttemptOutcome::Conflict(number(get(row, "was")?)?))
            }
        }
        // A concurrent retry has stored the entry: the next attempt finds it.
        Err(failure) if PostgresError::is_unique_violation(&failure) => Ok(AttemptOutcome::Conflict(after)),
        Err(failure) => Err(failure.into()),
    }
}
