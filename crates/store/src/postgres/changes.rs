//! Changes other than appends.

use protocol::{Country, Locale, Timestamp, UserLabel};
use tokio_postgres::Row;

use super::pooled_connection::PooledConnection;
use super::queries::{self, get};
use super::summaries;
use crate::content::SealedContent;
use crate::error::StoreError;
use crate::keys::{KeyId, Keyring, Sealed, TokenHash, TokenKey};
use crate::model::{EntryPosition, NewSession, SessionRecord};
use crate::rows::{LAST_SEEN_GRANULARITY_MS, column, name, number};

pub(super) async fn create_session(
    connection: &mut PooledConnection,
    session: &NewSession,
    token: TokenHash,
) -> Result<SessionRecord, StoreError> {
    // The no-op update makes a retry return the existing row.
    let sql = "INSERT INTO sessions (session_id, token_hash, locale, created_at, last_seen, country) \
               VALUES ($1, $2, $3, $4, $4, $5) ON CONFLICT (token_hash) DO UPDATE SET seq = sessions.seq \
               RETURNING user_id, session_id, locale, country, created_at, seq, messages, swept, rotations";
    let (id, locale) = (session.id.as_str(), session.locale.to_string());
    let (at, country) = (session.created_at.unix_ms(), session.country.map(name));
    let rows = connection.query(sql, &[&id, &token.as_bytes().as_slice(), &locale, &at, &country]).await?;
    let row = rows.first().ok_or_else(|| StoreError::Damaged("a new session".to_owned()))?;
    queries::session(row)?.read()
}

pub(super) async fn set_locale(
    connection: &mut PooledConnection,
    user: UserLabel,
    locale: Locale,
) -> Result<(), StoreError> {
    let sql = "UPDATE sessions SET locale = $2 WHERE user_id = $1";
    let changed = connection.execute(sql, &[&column(user.0), &locale.to_string()]).await?;
    if changed == 0 { Err(StoreError::NoSession { user }) } else { Ok(()) }
}

pub(super) async fn set_country(
    connection: &mut PooledConnection,
    user: UserLabel,
    country: Country,
) -> Result<(), StoreError> {
    let sql = "UPDATE sessions SET country = $2 WHERE user_id = $1";
    let changed = connection.execute(sql, &[&column(user.0), &country.as_str()]).await?;
    if changed == 0 { Err(StoreError::NoSession { user }) } else { Ok(()) }
}

pub(super) async fn touch(
    connection: &mut PooledConnection,
    users: &[UserLabel],
    now: Timestamp,
) -> Result<(), StoreError> {
    let users: Vec<i64> = users.iter().map(|user| column(user.0)).collect();
    // Rows are locked in a fixed order: two cores with common sessions must not deadlock.
    let sql = "UPDATE sessions SET last_seen = $2 WHERE last_seen < $3 AND user_id = ANY(ARRAY \
               (SELECT user_id FROM sessions WHERE user_id = ANY($1) AND last_seen < $3 \
                ORDER BY user_id FOR NO KEY UPDATE))";
    let now = now.unix_ms();
    Ok(connection.execute(sql, &[&users, &now, &(now - LAST_SEEN_GRANULARITY_MS)]).await.map(drop)?)
}

pub(super) async fn erase(connection: &mut PooledConnection, user: UserLabel) -> Result<u64, StoreError> {
    // One transaction, one round trip. Separate statements, because the later ones must see rows that were
    // written while the first waited for the lock of the session. Formatting an integer is injection-safe.
    let user_id = column(user.0);
    let delete = |table| format!("DELETE FROM {table} WHERE user_id = {user_id}");
    let sql = ["sessions", "summaries", "links", "entries"].map(delete).join("; ");
    match connection.batch(&sql).await?[..] {
        [1, _, _, entries] => Ok(entries),
        _ => Err(StoreError::NoSession { user }),
    }
}

/// Selects the columns of entries to re-encrypt.
const ENTRIES: &str = "SELECT user_id, seq, message_id, role, key_id, text, at, finish, source FROM entries";

/// Keys of the database being re-encrypted.
pub(super) struct DatabaseKeys<'a> {
    pub(super) keys: &'a Keyring,
    pub(super) token_key: &'a TokenKey,
}

pub(super) async fn reencrypt(
    connection: &mut PooledConnection,
    database_keys: DatabaseKeys<'_>,
    after: Option<EntryPosition>,
    limit: usize,
) -> Result<Option<EntryPosition>, StoreError> {
    let DatabaseKeys { keys, token_key } = database_keys;
    let from = after.map_or((0, 0), |position| (column(position.user.0), column(position.seq)));
    let sql = format!("{ENTRIES} WHERE ($1::bigint, $2::bigint) < (user_id, seq) ORDER BY user_id, seq LIMIT $3");
    let rows = connection.query(&sql, &[&from.0, &from.1, &column(limit as u64)]).await?;
    let last = reencrypt_entries(connection, keys, &rows).await?;
    // Sessions with a summary have entries, so this reaches every summary.
    let mut sessions = rows.iter().map(|row| get(row, "user_id")).collect::<Result<Vec<i64>, _>>()?;
    sessions.dedup();
    summaries::reencrypt(connection, keys, &sessions).await?;
    if last.is_none() {
        let Sealed { key, bytes } = token_key.seal(keys);
        let sql = "UPDATE keys SET key_id = $1, value = $2 WHERE name = 'resume_tokens'";
        connection.execute(sql, &[&key.map(|id| id.0), &bytes]).await?;
    }
    Ok(last)
}

pub(super) async fn reencrypt_legacy(
    connection: &mut PooledConnection,
    keys: &Keyring,
    after: Option<EntryPosition>,
    limit: usize,
) -> Result<Option<EntryPosition>, StoreError> {
    let from = after.map_or((0, 0), |position| (column(position.user.0), column(position.seq)));
    // Must equal the condition of the partial index `entries_to_convert`, or every call scans the table.
    let sql = format!(
        "{ENTRIES} WHERE role IN ('user', 'assistant', 'support') AND ($1::bigint, $2::bigint) < (user_id, seq) \
         ORDER BY user_id, seq LIMIT $3"
    );
    let rows = connection.query(&sql, &[&from.0, &from.1, &column(limit as u64)]).await?;
    reencrypt_entries(connection, keys, &rows).await
}

/// Re-encrypts those of `rows` that are not under the current key or have no header. Returns the position
/// of the last row.
async fn reencrypt_entries(
    connection: &mut PooledConnection,
    keys: &Keyring,
    rows: &[Row],
) -> Result<Option<EntryPosition>, StoreError> {
    let (mut users, mut seqs, mut tags, mut texts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for row in rows {
        let (user_id, row) = (get(row, "user_id")?, queries::entry(row)?);
        let (user, seq) = (UserLabel(number(user_id)?), row.seq);
        last = Some(EntryPosition { user, seq: number(seq)? });
        if row.key_id.map(KeyId) == keys.current_id() && !row.is_legacy() {
            continue;
        }
        match row.reencrypt(user, keys) {
            Err(error @ StoreError::Damaged(_)) => {
                tracing::error!(%user, seq, %error, "damaged entry left unchanged");
            }
            reencrypted => {
                let SealedContent { tag, sealed } = reencrypted?;
                users.push(user_id);
                seqs.push(seq);
                tags.push(tag);
                texts.push(sealed.bytes);
            }
        }
    }
    if !texts.is_empty() {
        let key = keys.current_id().map(|id| id.0);
        let sql = "UPDATE entries SET key_id = $1, role = new.role, text = new.text, finish = NULL, source = NULL \
                   FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::bytea[]) AS new (user_id, seq, role, text) \
                   WHERE entries.user_id = new.user_id AND entries.seq = new.seq";
        connection.execute(sql, &[&key, &users, &seqs, &tags, &texts]).await?;
    }
    Ok(last)
}
