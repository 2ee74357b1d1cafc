//! What is read, and how rows are.

use protocol::UserLabel;
use protocol::server_frame::Entry;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::store::keys::Keyring;
use crate::store::rows::{EntryRow, SessionRow};
use crate::store::{Page, StoreError};

/// The session of a token, and the hash that is stored of it.
pub(super) const SESSION_BY_TOKEN: &str = "SELECT user_id, session_id, locale, created_at, seq, messages, swept, \
    token_hash FROM sessions WHERE token_hash = $1";

/// Entries, beside their session so that a session without entries is known from none: then one
/// row comes that has no `seq`.
pub(super) const ENTRIES_OF: &str = "SELECT e.* FROM sessions s LEFT JOIN LATERAL \
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

/// The statement of a page, and its parameters after the session's.
pub(super) fn entries(page: Page) -> (&'static str, u64, usize) {
    match page {
        Page::After { seq, limit } => (ENTRIES_AFTER, seq, limit),
        Page::Before { seq, limit } => (ENTRIES_BEFORE, seq, limit),
    }
}

/// What [`ENTRIES_OF`] or a page has found.
pub(super) fn read_entries(rows: &[Row], user: UserLabel, keys: &Keyring) -> Result<Vec<Entry>, StoreError> {
    if rows.is_empty() {
        return Err(StoreError::NoSession { user });
    }
    let found = rows.iter().filter(|row| matches!(row.try_get::<_, Option<i64>>("seq"), Ok(Some(_)) | Err(_)));
    found.map(|row| entry(row)?.read(user, keys)).collect()
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
        created_at: get(row, "created_at")?,
        seq: get(row, "seq")?,
        messages: get(row, "messages")?,
        swept: get(row, "swept")?,
    })
}

pub(super) fn get<'row, T: FromSql<'row>>(row: &'row Row, column: &str) -> Result<T, StoreError> {
    row.try_get(column).map_err(|_| StoreError::Damaged(format!("column {column}")))
}
