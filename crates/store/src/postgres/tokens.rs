//! Resume tokens, and codes for another device.

use protocol::{Timestamp, UserLabel};

use super::pooled_connection::PooledConnection;
use super::queries::get;
use crate::error::StoreError;
use crate::keys::TokenHash;
use crate::rows::{column, number};

/// Replaces the token of a session. A retry finds its own token and counts nothing.
const ROTATE: &str = "WITH revoked AS (DELETE FROM links WHERE user_id = $1) \
    UPDATE sessions SET rotations = rotations + CASE WHEN token_hash = $2 THEN 0 ELSE 1 END, token_hash = $2 \
    WHERE user_id = $1 RETURNING rotations";
/// Stores a code in place of an earlier one. The session's row is locked: an erase removes the code too.
const PUT_LINK: &str = "WITH place AS (SELECT user_id FROM sessions WHERE user_id = $1 FOR NO KEY UPDATE) \
    INSERT INTO links (user_id, code_hash, token, expires_at) SELECT user_id, $2, $3, $4 FROM place \
    ON CONFLICT (user_id) DO UPDATE SET code_hash = excluded.code_hash, token = excluded.token, \
        expires_at = excluded.expires_at";
const TAKE_LINK: &str = "DELETE FROM links WHERE code_hash = $1 AND $2 < expires_at RETURNING token";

pub(super) async fn rotate(
    connection: &mut PooledConnection,
    user: UserLabel,
    token: TokenHash,
) -> Result<u64, StoreError> {
    let rows = connection.query(ROTATE, &[&column(user.0), &token.as_bytes().as_slice()]).await?;
    number(get(rows.first().ok_or(StoreError::NoSession { user })?, "rotations")?)
}

pub(super) async fn put_link(
    connection: &mut PooledConnection,
    user: UserLabel,
    code: TokenHash,
    token: &[u8],
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let columns = [
        &column(user.0) as &(dyn tokio_postgres::types::ToSql + Sync),
        &code.as_bytes().as_slice(),
        &token,
        &expires_at.unix_ms(),
    ];
    let stored = connection.execute(PUT_LINK, &columns).await?;
    if stored == 0 { Err(StoreError::NoSession { user }) } else { Ok(()) }
}

/// Removes a valid code. Returns the sealed token. `None` only on a server that accepts writes, as every removal.
pub(super) async fn take_link(
    connection: &mut PooledConnection,
    code: TokenHash,
    now: Timestamp,
) -> Result<Option<Vec<u8>>, StoreError> {
    let rows = connection.query(TAKE_LINK, &[&code.as_bytes().as_slice(), &now.unix_ms()]).await?;
    rows.first().map(|row| get(row, "token")).transpose()
}

pub(super) async fn prune_links(connection: &mut PooledConnection, now: Timestamp) -> Result<(), StoreError> {
    connection.execute("DELETE FROM links WHERE expires_at <= $1", &[&now.unix_ms()]).await?;
    Ok(())
}
