//! Queries and their rows.

use protocol::server_frame::Entry;
use protocol::{MessageId, UserLabel};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::pooled_connection::PooledConnection;
use crate::error::StoreError;
use crate::keys::{Keyring, TokenHash};
use crate::model::{self, Page, ReadableEntries, SessionRecord};
use crate::rows::{self, EntryRow, SessionRow, column, number};

/// Finds the session of a token; returns its stored hash, too, for a comparison in constant time.
const SESSION_BY_TOKEN: &str = "SELECT user_id, session_id, locale, country, created_at, seq, messages, swept, rotations, \
    token_hash FROM sessions WHERE token_hash = $1";

const SESSION_BY_USER: &str = "SELECT user_id, session_id, locale, country, created_at, seq, messages, swept, \
    rotations FROM sessions WHERE user_id = $1";

/// Selects the entries of a message. Joined with the session, so that a session without entries (one row
/// without a `seq`) differs from a missing session (no row).
const ENTRIES_OF: &str = "SELECT e.* FROM sessions s LEFT JOIN LATERAL \
    (SELECT seq, message_id, role, key_id, text, at, finish, source FROM entries \
     WHERE user_id = s.user_id AND message_id = $2) e ON true \
    WHERE s.user_id = $1 ORDER BY e.seq";
const ENTRIES_AFTER: &str = "SELECT e.* FROM sessions s LEFT JOIN LATERAL \
    (SELECT seq, message_id, role, key_id, text, at, finish, source FROM entries \
     WHERE user_id = s.user_id AND $2 < seq ORDER BY seq LIMIT $3) e ON true \
    WHERE s.user_id = $1 ORDER BY e.seq";
const ENTRIES_BEFORE: &str = "SELECT e.* FROM sessions s LEFT JOIN LATERAL \
    (SELECT seq, message_id, role, key_id, text, at, finish, source FROM entries \
     WHERE user_id = s.user_id AND seq < $2 ORDER BY seq DESC LIMIT $3) e ON true \
    WHERE s.user_id = $1 ORDER BY e.seq";

/// Returns the session of a token. `None` only on a server that accepts writes: a lagging standby must not
/// prove absence.
pub(super) async fn session_by_token(
    connection: &mut PooledConnection,
    token: TokenHash,
) -> Result<Option<SessionRecord>, StoreError> {
    let rows = connection.query(SESSION_BY_TOKEN, &[&token.as_bytes().as_slice()]).await?;
    let Some(row) = rows.first() else {
        return if connection.may_write() { Ok(None) } else { Err(super::behind()) };
    };
    let stored: &[u8] = get(row, "token_hash")?;
    if token.matches(stored) { session(row)?.read().map(Some) } else { Ok(None) }
}

/// Returns the record of a session; `None` only on a server that accepts writes.
pub(super) async fn session_by_user(
    connection: &mut PooledConnection,
    user: UserLabel,
) -> Result<Option<SessionRecord>, StoreError> {
    let rows = connection.query(SESSION_BY_USER, &[&column(user.0)]).await?;
    match rows.first() {
        Some(row) => session(row)?.read().map(Some),
        None if connection.may_write() => Ok(None),
        None => Err(super::behind()),
    }
}

/// Returns the entries of a message.
pub(super) async fn entries_of(
    connection: &mut PooledConnection,
    keys: &Keyring,
    user: UserLabel,
    id: &MessageId,
) -> Result<Vec<Entry>, StoreError> {
    let rows = connection.query(ENTRIES_OF, &[&column(user.0), &id.as_str()]).await?;
    Ok(read_rows(&rows, user, keys)?.into_iter().filter_map(entry_of).collect())
}

fn entry_of(row: model::Row) -> Option<Entry> {
    match row {
        model::Row::Entry(entry) => Some(entry),
        model::Row::Tombstone(_) => None,
    }
}

/// Returns a page of entries.
pub(super) async fn entries(
    connection: &mut PooledConnection,
    keys: &Keyring,
    user: UserLabel,
    page: Page,
) -> Result<Vec<Entry>, StoreError> {
    let rows = read_rows(&page_rows(connection, user, page).await?, user, keys)?;
    Ok(rows.into_iter().filter_map(entry_of).collect())
}

/// Returns a page without its unreadable entries.
pub(super) async fn readable_entries(
    connection: &mut PooledConnection,
    keys: &Keyring,
    user: UserLabel,
    page: Page,
) -> Result<ReadableEntries, StoreError> {
    decrypt_readable(&page_rows(connection, user, page).await?, user, keys)
}

async fn page_rows(connection: &mut PooledConnection, user: UserLabel, page: Page) -> Result<Vec<Row>, StoreError> {
    let (sql, seq, limit) = match page {
        Page::After { seq, limit } => (ENTRIES_AFTER, seq, limit),
        Page::Before { seq, limit } => (ENTRIES_BEFORE, seq, limit),
    };
    Ok(connection.query(sql, &[&column(user.0), &column(seq), &column(limit as u64)]).await?)
}

/// Decrypts the rows of a statement above.
fn read_rows(rows: &[Row], user: UserLabel, keys: &Keyring) -> Result<Vec<model::Row>, StoreError> {
    if rows.is_empty() {
        return Err(StoreError::NoSession { user });
    }
    let found = rows.iter().filter(|row| matches!(row.try_get::<_, Option<i64>>("seq"), Ok(Some(_)) | Err(_)));
    found.map(|row| entry(row)?.read(user, keys)).collect()
}

/// Like [`read_rows`], without unreadable entries.
pub(super) fn decrypt_readable(rows: &[Row], user: UserLabel, keys: &Keyring) -> Result<ReadableEntries, StoreError> {
    if rows.is_empty() {
        return Err(StoreError::NoSession { user });
    }
    let found = rows.iter().filter_map(|row| row.try_get::<_, Option<i64>>("seq").ok().flatten().map(|seq| (seq, row)));
    let found = found.map(|(seq, row)| Ok((number(seq)?, entry(row)))).collect::<Result<Vec<_>, StoreError>>()?;
    Ok(rows::decrypt_readable(found, user, keys))
}

pub(super) fn entry(row: &Row) -> Result<EntryRow, StoreError> {
    Ok(EntryRow {
        seq: get(row, "seq")?,
        message_id: get(row, "message_id")?,
        role: get(row, "role")?,
        key_id: get(row, "key_id")?,
        text: get(row, "text")?,
        at: get(row, "at")?,
        finish: get(row, "finish")?,
        source: get(row, "source")?,
    })
}

pub(super) fn session(row: &Row) -> Result<SessionRow, StoreError> {
    Ok(SessionRow {
        user_id: get(row, "user_id")?,
        session_id: get(row, "session_id")?,
        locale: get(row, "locale")?,
        country: get(row, "country")?,
        created_at: get(row, "created_at")?,
        seq: get(row, "seq")?,
        messages: get(row, "messages")?,
        pruned: get(row, "swept")?,
        rotations: get(row, "rotations")?,
    })
}

pub(super) fn get<'row, T: FromSql<'row>>(row: &'row Row, column: &str) -> Result<T, StoreError> {
    row.try_get(column).map_err(|_| StoreError::Damaged(format!("column {column}")))
}
