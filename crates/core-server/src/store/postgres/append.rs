//! Appending an entry: one statement, one round trip.
//!
//! A text is sealed for its place before it is sent, so the statement only stores it if the
//! session's `seq` is what the caller took it for. All its parts see the database as it was when
//! it began, but a session that another transaction changes meanwhile is waited for and looked
//! at again: of two appends with the same `seq`, the second changes nothing and is repeated.

use protocol::UserLabel;
use protocol::server_frame::Role;

use super::error::PostgresError;
use super::pooled_connection::PooledConnection;
use super::queries::get;
use crate::store::content::{self, Content, SealedContent};
use crate::store::keys::Keyring;
use crate::store::rows::{LAST_SEEN_GRANULARITY_MS, column, number};
use crate::store::{Appended, EntryPosition, NewEntry, StoreError};

/// Tries before the session is locked: others may append to it too, but seldom do.
const MAX_ATTEMPTS: usize = 3;

const APPEND: &str = "WITH known AS ( \
        SELECT seq FROM entries WHERE user_id = $1 AND message_id = $3 AND role IN ($4, $10) \
    ), numbered AS ( \
        UPDATE sessions SET seq = seq + 1, messages = messages + $5, oldest_at = coalesce(oldest_at, $6), \
            last_seen = CASE WHEN seq = swept OR last_seen < $7 THEN greatest(last_seen, $6) ELSE last_seen END \
        WHERE user_id = $1 AND seq = $2 AND NOT EXISTS (SELECT FROM known) RETURNING seq \
    ), stored AS ( \
        INSERT INTO entries (user_id, seq, message_id, role, key_id, text, at) \
        SELECT $1, seq, $3, $4, $8::bigint, $9::bytea, $6 FROM numbered RETURNING seq \
    ) \
    SELECT (SELECT seq FROM known) AS known, (SELECT seq FROM stored) AS stored, seq AS was \
    FROM sessions WHERE user_id = $1";

/// What came of one try.
enum AttemptOutcome {
    Done(Appended),
    /// The session was or is at another `seq`: this, unless it is changed right now.
    Conflict(u64),
}

pub(super) async fn append(
    connection: &mut PooledConnection,
    keys: &Keyring,
    place: EntryPosition,
    entry: &NewEntry,
) -> Result<Appended, StoreError> {
    let mut place = place;
    for _ in 0..MAX_ATTEMPTS {
        match attempt(connection, keys, place, entry).await? {
            AttemptOutcome::Done(appended) => return Ok(appended),
            AttemptOutcome::Conflict(seq) => place.seq = seq,
        }
    }
    append_locked(connection, keys, place.user, entry).await
}

/// Appends while no other can.
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

/// Appends after `place`, if that is the session's last.
async fn attempt(
    connection: &mut PooledConnection,
    keys: &Keyring,
    place: EntryPosition,
    entry: &NewEntry,
) -> Result<AttemptOutcome, StoreError> {
    let EntryPosition { user, seq: after } = place;
    let next = EntryPosition { user, seq: after.saturating_add(1) };
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
    ];
    match connection.query(APPEND, &parameters).await {
        Ok(rows) => {
            let row = rows.first().ok_or(StoreError::NoSession { user })?;
            if let Some(seq) = get::<Option<i64>>(row, "known")? {
                Ok(AttemptOutcome::Done(Appended::Existing { seq: number(seq)? }))
            } else if get::<Option<i64>>(row, "stored")?.is_some() {
                Ok(AttemptOutcome::Done(Appended::New(entry.clone().numbered(next.seq))))
            } else {
                Ok(AttemptOutcome::Conflict(number(get(row, "was")?)?))
            }
        }
        // Stored by another at this moment: the next try finds it.
        Err(failure) if PostgresError::is_unique_violation(&failure) => Ok(AttemptOutcome::Conflict(after)),
        Err(failure) => Err(failure.into()),
    }
}
