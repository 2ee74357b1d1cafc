//! Forgetting of a message.

use protocol::server_frame::Forgotten;
use protocol::{MessageId, UserLabel};

use super::pooled_connection::PooledConnection;
use super::queries::{self, get};
use crate::content::{self, Content, RowRole, SealedContent};
use crate::error::StoreError;
use crate::keys::Keyring;
use crate::model::{EntryPosition, Forget, Row, Tombstone};
use crate::rows::{column, number};

/// Takes the next number, under the lock of the session's row. A concurrent append then fails its check of `seq`, and
/// its next attempt sees the tombstone.
const NUMBER: &str = "UPDATE sessions SET seq = seq + 1 WHERE user_id = $1 RETURNING seq";
const FIRST: &str = "SELECT min(seq) AS seq FROM entries WHERE user_id = $1 AND message_id = $2";
const INSERT: &str = "INSERT INTO entries (user_id, seq, message_id, role, key_id, text, at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
/// The first entry may be gone.
const OLDEST: &str = "UPDATE sessions SET oldest_at = (SELECT at FROM entries WHERE user_id = $1 ORDER BY seq LIMIT 1) \
    WHERE user_id = $1";

/// Replaces the entries of a message by a tombstone.
pub(super) async fn forget(
    connection: &mut PooledConnection,
    keys: &Keyring,
    user: UserLabel,
    forget: &Forget,
) -> Result<Option<(Forgotten, u64)>, StoreError> {
    if let Some(tombstone) = tombstone(connection, keys, user, &forget.id).await? {
        return Ok(Some((tombstone.forgotten, 0)));
    }
    let (user_id, id) = (column(user.0), forget.id.as_str());
    let mut transaction = connection.begin().await?;
    let numbered = transaction.query(NUMBER, &[&user_id]).await?;
    let seq = number(get(numbered.first().ok_or(StoreError::NoSession { user })?, "seq")?)?;
    let first = transaction.query(FIRST, &[&user_id, &id]).await?;
    let first = first.first().map(|row| get::<Option<i64>>(row, "seq")).transpose()?.flatten();
    // An early return ends the transaction without effect: its connection is closed.
    let Some(from) = first else { return Ok(None) };
    let sql = "DELETE FROM entries WHERE user_id = $1 AND message_id = $2";
    let erased = transaction.execute(sql, &[&user_id, &id]).await?;
    let forgotten = Forgotten { seq, id: forget.id.clone(), from_seq: number(from)? };
    let content = Content::forgotten(forgotten.from_seq, forget.help.clone());
    let SealedContent { tag, sealed } = content.seal(keys, EntryPosition { user, seq }, &forget.id);
    let (key, at) = (sealed.key.map(|id| id.0), forget.at.unix_ms());
    transaction.execute(INSERT, &[&user_id, &column(seq), &id, &tag, &key, &sealed.bytes, &at]).await?;
    transaction.execute(OLDEST, &[&user_id]).await?;
    let sql = "DELETE FROM summaries WHERE user_id = $1 AND $2 <= last_seq AND text <> ''";
    transaction.execute(sql, &[&user_id, &from]).await?;
    transaction.commit().await?;
    Ok(Some((forgotten, erased)))
}

/// Returns the tombstone of a forgotten message.
pub(super) async fn tombstone(
    connection: &mut PooledConnection,
    keys: &Keyring,
    user: UserLabel,
    id: &MessageId,
) -> Result<Option<Tombstone>, StoreError> {
    let tag = content::tag(keys, EntryPosition { user, seq: 0 }, id, RowRole::Forgotten);
    let sql = "SELECT seq, message_id, role, key_id, text, at, finish, source FROM entries \
               WHERE user_id = $1 AND message_id = $2 AND role = $3";
    let rows = connection.query(sql, &[&column(user.0), &id.as_str(), &tag]).await?;
    let row = rows.first().map(|row| queries::entry(row)?.read(user, keys)).transpose()?;
    Ok(match row {
        Some(Row::Tombstone(tombstone)) => Some(tombstone),
        Some(Row::Entry(_)) | None => None,
    })
}
