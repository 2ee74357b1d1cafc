//! Queries.

use protocol::server_frame::Entry;
use protocol::{MessageId, UserLabel};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::error::StoreError;
use crate::keys::{Keyring, TokenHash};
use crate::model::{Page, ReadableEntries};
use crate::rows::{EntryRow, SeqAndRow, SessionRow, SummaryRow, column, decrypt_readable, number};

/// Finds the session of a token; returns its stored hash, too, for a comparison in constant time.
pub(super) fn session_by_token(db: &Connection, token: TokenHash) -> rusqlite::Result<(SessionRow, Vec<u8>)> {
    let sql = "SELECT user_id, session_id, locale, country, created_at, seq, messages, swept, rotations, token_hash \
               FROM sessions WHERE token_hash = ?1";
    db.prepare_cached(sql)?.query_row([token.as_bytes()], |row| Ok((session(row)?, row.get("token_hash")?)))
}

pub(super) fn session_by_user(db: &Connection, user: UserLabel) -> rusqlite::Result<SessionRow> {
    let sql = "SELECT user_id, session_id, locale, country, created_at, seq, messages, swept, rotations \
               FROM sessions WHERE user_id = ?1";
    db.prepare_cached(sql)?.query_row([column(user.0)], session)
}

pub(super) fn exists(db: &Connection, user: UserLabel) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM sessions WHERE user_id = ?1")?.exists([column(user.0)])
}

pub(super) fn entries_of(db: &Connection, user: UserLabel, id: &MessageId) -> rusqlite::Result<Vec<EntryRow>> {
    let sql = "SELECT * FROM entries WHERE user_id = ?1 AND message_id = ?2 ORDER BY seq";
    db.prepare_cached(sql)?.query_map(params![column(user.0), id.as_str()], entry)?.collect()
}

pub(super) fn entries(db: &Connection, user: UserLabel, page: Page) -> rusqlite::Result<Vec<EntryRow>> {
    let user = column(user.0);
    let (sql, seq, limit) = match page {
        Page::After { seq, limit } => {
            ("SELECT * FROM entries WHERE user_id = ?1 AND ?2 < seq ORDER BY seq LIMIT ?3", seq, limit)
        }
        Page::Before { seq, limit } => {
            ("SELECT * FROM entries WHERE user_id = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3", seq, limit)
        }
    };
    let limit = column(limit as u64);
    let rows = db.prepare_cached(sql)?.query_map([user, column(seq), limit], entry)?.collect::<Result<Vec<_>, _>>();
    rows.map(|mut rows| {
        if matches!(page, Page::Before { .. }) {
            rows.reverse();
        }
        rows
    })
}

/// Reads a page without its unreadable entries. A damaged page of the file or a column of the wrong type
/// ends a query: the entries are then read individually, by their `seq` in the index.
pub(super) fn readable_entries(
    db: &Connection,
    keys: &Keyring,
    user: UserLabel,
    page: Page,
) -> Result<ReadableEntries, StoreError> {
    let rows: Vec<_> = match entries(db, user, page).map_err(StoreError::from) {
        Ok(rows) => rows.into_iter().map(|row| Ok((number(row.seq)?, Ok(row)))).collect::<Result<_, StoreError>>()?,
        Err(error) if error.is_data_error() => entries_individually(db, user, page)?,
        Err(error) => return Err(error),
    };
    if rows.is_empty() && !exists(db, user)? {
        return Err(StoreError::NoSession { user });
    }
    Ok(decrypt_readable(rows, user, keys))
}

fn entries_individually(db: &Connection, user: UserLabel, page: Page) -> Result<Vec<SeqAndRow>, StoreError> {
    let (sql, seq, limit) = match page {
        Page::After { seq, limit } => {
            ("SELECT seq FROM entries WHERE user_id = ?1 AND ?2 < seq ORDER BY seq LIMIT ?3", seq, limit)
        }
        Page::Before { seq, limit } => {
            ("SELECT seq FROM entries WHERE user_id = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3", seq, limit)
        }
    };
    let user = column(user.0);
    let mut numbers = db.prepare(sql)?;
    let seqs = numbers.query_map([user, column(seq), column(limit as u64)], |row| row.get(0))?;
    let mut seqs = seqs.collect::<Result<Vec<i64>, _>>()?;
    seqs.sort_unstable();
    let mut rows = Vec::with_capacity(seqs.len());
    for seq in seqs {
        let sql = "SELECT * FROM entries WHERE user_id = ?1 AND seq = ?2";
        let row = db.prepare(sql)?.query_row([user, seq], entry).map_err(StoreError::from);
        match row {
            Err(error) if !error.is_data_error() => return Err(error),
            row => rows.push((number(seq)?, row)),
        }
    }
    Ok(rows)
}

/// Decrypts `rows`. Without rows it checks that the session exists.
pub(super) fn decrypt_entries(
    db: &Connection,
    keys: &Keyring,
    user: UserLabel,
    rows: Vec<EntryRow>,
) -> Result<Vec<Entry>, StoreError> {
    if rows.is_empty() && !exists(db, user)? {
        return Err(StoreError::NoSession { user });
    }
    rows.into_iter().filter_map(|row| row.read_entry(user, keys).transpose()).collect()
}

pub(super) fn summary(db: &Connection, user: UserLabel) -> rusqlite::Result<Option<SummaryRow>> {
    let sql = "SELECT first_seq, last_seq, key_id, text FROM summaries WHERE user_id = ?1";
    let read = |row: &Row<'_>| {
        Ok(SummaryRow {
            first_seq: row.get("first_seq")?,
            last_seq: row.get("last_seq")?,
            key_id: row.get("key_id")?,
            text: row.get("text")?,
        })
    };
    db.prepare_cached(sql)?.query_row([column(user.0)], read).optional()
}

pub(super) fn session(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        user_id: row.get("user_id")?,
        session_id: row.get("session_id")?,
        locale: row.get("locale")?,
        country: row.get("country")?,
        created_at: row.get("created_at")?,
        seq: row.get("seq")?,
        messages: row.get("messages")?,
        pruned: row.get("swept")?,
        rotations: row.get("rotations")?,
    })
}

pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<EntryRow> {
    Ok(EntryRow {
        seq: row.get("seq")?,
        message_id: row.get("message_id")?,
        role: row.get("role")?,
        key_id: row.get("key_id")?,
        text: row.get("text")?,
        at: row.get("at")?,
        finish: row.get("finish")?,
        source: row.get("source")?,
    })
}
