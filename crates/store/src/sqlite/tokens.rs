//! Resume tokens, and codes for another device.

use protocol::{Timestamp, UserLabel};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::queries;
use crate::error::StoreError;
use crate::keys::TokenHash;
use crate::rows::{column, number};

/// Replaces the token of a session. Returns the number of replacements.
pub(super) fn rotate(db: &Connection, user: UserLabel, token: TokenHash) -> Result<u64, StoreError> {
    // A retry finds its own token and counts nothing.
    let sql = "UPDATE sessions SET rotations = rotations + (token_hash <> ?2), token_hash = ?2 WHERE user_id = ?1 \
               RETURNING rotations";
    let rotations = db.prepare_cached(sql)?.query_row(params![column(user.0), token.as_bytes()], |row| row.get(0));
    let rotations: i64 = rotations.optional()?.ok_or(StoreError::NoSession { user })?;
    delete_link(db, column(user.0))?;
    number(rotations)
}

/// Stores a code, and the sealed token that it opens, in place of an earlier one.
pub(super) fn put_link(
    db: &Connection,
    user: UserLabel,
    code: TokenHash,
    token: &[u8],
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    if !queries::exists(db, user)? {
        return Err(StoreError::NoSession { user });
    }
    let sql = "INSERT OR REPLACE INTO links (user_id, code_hash, token, expires_at) VALUES (?1, ?2, ?3, ?4)";
    let columns = params![column(user.0), code.as_bytes(), token, expires_at.unix_ms()];
    db.prepare_cached(sql)?.execute(columns)?;
    Ok(())
}

/// Removes a valid code. Returns the sealed token.
pub(super) fn take_link(db: &Connection, code: TokenHash, now: Timestamp) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "DELETE FROM links WHERE code_hash = ?1 AND ?2 < expires_at RETURNING token";
    Ok(db.prepare_cached(sql)?.query_row(params![code.as_bytes(), now.unix_ms()], |row| row.get(0)).optional()?)
}

pub(super) fn delete_link(db: &Connection, user_id: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM links WHERE user_id = ?1")?.execute([user_id]).map(drop)
}

pub(super) fn prune_links(db: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM links WHERE expires_at <= ?1")?.execute([now.unix_ms()]).map(drop)
}
