//! Changes, run within the writer's transaction.
//!
//! A change that fails with [`StoreError::NoSession`] must not have written anything by then: it is not
//! rolled back.

use protocol::server_frame::{Forgotten, Role};
use protocol::{Country, Locale, MessageId, Timestamp, UserLabel};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, named_params, params};

use super::connection::DatabaseFile;
use super::{queries, summaries, tokens};
use crate::content::{self, Content, RowRole, SealedContent};
use crate::error::StoreError;
use crate::keys::{KeyId, Keyring, Sealed, TokenHash, TokenKey};
use crate::model::{Appended, Cutoffs, EntryPosition, Forget, NewEntry, NewSession, Row, SessionRecord, Tombstone};
use crate::rows::{EntryRow, LAST_SEEN_GRANULARITY_MS, column, name, number};

/// Returns the token key of the database, and generates one for a new database.
pub(super) fn token_key(db: &mut Connection, keys: &Keyring) -> Result<TokenKey, StoreError> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "SELECT key_id, value FROM keys WHERE name = 'resume_tokens'";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Sealed { key: row.get::<_, Option<i64>>("key_id")?.map(KeyId), bytes: row.get("value")? })
    };
    let stored = transaction.query_row(sql, [], read).optional()?;
    let key = match stored {
        Some(sealed) => TokenKey::open(keys, sealed)?,
        None => {
            let key = TokenKey::random();
            put_token_key(&transaction, keys, &key)?;
            key
        }
    };
    transaction.commit()?;
    Ok(key)
}

fn put_token_key(db: &Connection, keys: &Keyring, key: &TokenKey) -> rusqlite::Result<()> {
    let Sealed { key: id, bytes } = key.seal(keys);
    let sql = "INSERT OR REPLACE INTO keys (name, key_id, value) VALUES ('resume_tokens', ?1, ?2)";
    db.execute(sql, params![id.map(|id| id.0), bytes]).map(drop)
}

pub(super) fn create_session(
    db: &Connection,
    session: &NewSession,
    token: TokenHash,
) -> Result<SessionRecord, StoreError> {
    // The no-op update makes a retry return the existing row.
    let sql = "INSERT INTO sessions (session_id, token_hash, locale, created_at, last_seen, country) \
               VALUES (?1, ?2, ?3, ?4, ?4, ?5) \
               ON CONFLICT (token_hash) DO UPDATE SET seq = seq \
               RETURNING user_id, session_id, locale, country, created_at, seq, messages, swept, rotations";
    let columns = params![
        session.id.as_str(),
        token.as_bytes(),
        session.locale.to_string(),
        session.created_at.unix_ms(),
        session.country.map(name)
    ];
    db.prepare_cached(sql)?.query_row(columns, queries::session)?.read()
}

pub(super) fn append(
    db: &Connection,
    keys: &Keyring,
    user: UserLabel,
    entry: &NewEntry,
) -> Result<Appended, StoreError> {
    let user_id = column(user.0);
    let position = EntryPosition { user, seq: 0 };
    let tag = content::tag(keys, position, &entry.id, RowRole::Entry(entry.role));
    let forgotten = content::tag(keys, position, &entry.id, RowRole::Forgotten);
    let sql = "SELECT seq, role FROM entries WHERE user_id = ?1 AND message_id = ?2 AND role IN (?3, ?4, ?5)";
    let known = params![user_id, entry.id.as_str(), tag, content::legacy_role(entry.role), forgotten];
    let known = db.prepare_cached(sql)?.query_row(known, |row| Ok((row.get(0)?, row.get(1)?)));
    if let Some((seq, role)) = known.optional()? {
        let role: String = role;
        if role == forgotten
            && let Some(tombstone) = tombstone(db, keys, user, &entry.id)?
        {
            return Ok(Appended::Forgotten(tombstone.forgotten));
        }
        return Ok(Appended::Existing { seq: number(seq)? });
    }
    let sql = "UPDATE sessions SET seq = seq + 1, messages = messages + ?2 WHERE user_id = ?1 \
               RETURNING seq, swept, last_seen";
    let counted = i64::from(entry.role == Role::User);
    let row = db.prepare_cached(sql)?.query_row([user_id, counted], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let (seq, swept, last_seen): (i64, i64, i64) = row.optional()?.ok_or(StoreError::NoSession { user })?;
    let at = entry.at.unix_ms();
    if seq == swept + 1 || last_seen + LAST_SEEN_GRANULARITY_MS < at {
        let sql = "UPDATE sessions SET last_seen = max(last_seen, ?2), oldest_at = coalesce(oldest_at, ?2) WHERE user_id = ?1";
        db.prepare_cached(sql)?.execute([user_id, at])?;
    }
    let seq = number(seq)?;
    let position = EntryPosition { user, seq };
    insert(db, position, &entry.id, entry.at, Content::of(entry).seal(keys, position, &entry.id))?;
    Ok(Appended::New(entry.clone().numbered(seq)))
}

/// Returns the tombstone of a forgotten message.
fn tombstone(
    db: &Connection,
    keys: &Keyring,
    user: UserLabel,
    id: &MessageId,
) -> Result<Option<Tombstone>, StoreError> {
    let tag = content::tag(keys, EntryPosition { user, seq: 0 }, id, RowRole::Forgotten);
    let row = queries::entries_of(db, user, id)?.into_iter().find(|row| row.role == tag);
    Ok(match row.map(|row| row.read(user, keys)).transpose()? {
        Some(Row::Tombstone(tombstone)) => Some(tombstone),
        Some(Row::Entry(_)) | None => None,
    })
}

/// Replaces the entries of a message by a tombstone.
pub(super) fn forget(
    db: &Connection,
    keys: &Keyring,
    user: UserLabel,
    forget: &Forget,
) -> Result<Option<(Forgotten, u64)>, StoreError> {
    let Forget { id, at, help } = forget;
    if !queries::exists(db, user)? {
        return Err(StoreError::NoSession { user });
    }
    if let Some(tombstone) = tombstone(db, keys, user, id)? {
        return Ok(Some((tombstone.forgotten, 0)));
    }
    let user_id = column(user.0);
    let sql = "SELECT min(seq) FROM entries WHERE user_id = ?1 AND message_id = ?2";
    let from: Option<i64> = db.prepare_cached(sql)?.query_row(params![user_id, id.as_str()], |row| row.get(0))?;
    let Some(from) = from else { return Ok(None) };
    let sql = "DELETE FROM entries WHERE user_id = ?1 AND message_id = ?2";
    let erased = db.prepare_cached(sql)?.execute(params![user_id, id.as_str()])?;
    let sql = "UPDATE sessions SET seq = seq + 1 WHERE user_id = ?1 RETURNING seq";
    let seq = number(db.prepare_cached(sql)?.query_row([user_id], |row| row.get(0))?)?;
    let forgotten = Forgotten { seq, id: id.clone(), from_seq: number(from)? };
    let content = Content::forgotten(forgotten.from_seq, help.clone());
    insert(db, EntryPosition { user, seq }, id, *at, content.seal(keys, EntryPosition { user, seq }, id))?;
    // The first entry may be gone.
    let sql = "UPDATE sessions SET oldest_at = (SELECT at FROM entries WHERE user_id = ?1 ORDER BY seq LIMIT 1) \
               WHERE user_id = ?1";
    db.prepare_cached(sql)?.execute([user_id])?;
    summaries::delete_from(db, user_id, from)?;
    Ok(Some((forgotten, erased as u64)))
}

fn insert(
    db: &Connection,
    position: EntryPosition,
    id: &MessageId,
    at: Timestamp,
    SealedContent { tag, sealed }: SealedContent,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO entries (user_id, seq, message_id, role, key_id, text, at) \
               VALUES (:user_id, :seq, :message_id, :role, :key_id, :text, :at)";
    let columns = named_params! {
        ":user_id": column(position.user.0),
        ":seq": column(position.seq),
        ":message_id": id.as_str(),
        ":role": tag,
        ":key_id": sealed.key.map(|id| id.0),
        ":text": sealed.bytes,
        ":at": at.unix_ms(),
    };
    db.prepare_cached(sql)?.execute(columns).map(drop)
}

pub(super) fn set_locale(db: &Connection, user: UserLabel, locale: Locale) -> Result<(), StoreError> {
    let sql = "UPDATE sessions SET locale = ?2 WHERE user_id = ?1";
    let changed = db.prepare_cached(sql)?.execute(params![column(user.0), locale.to_string()])?;
    if changed == 0 { Err(StoreError::NoSession { user }) } else { Ok(()) }
}

pub(super) fn set_country(db: &Connection, user: UserLabel, country: Country) -> Result<(), StoreError> {
    let sql = "UPDATE sessions SET country = ?2 WHERE user_id = ?1";
    let changed = db.prepare_cached(sql)?.execute(params![column(user.0), country.as_str()])?;
    if changed == 0 { Err(StoreError::NoSession { user }) } else { Ok(()) }
}

pub(super) fn touch(db: &Connection, users: &[i64], now: Timestamp) -> Result<(), StoreError> {
    let mut update =
        db.prepare_cached("UPDATE sessions SET last_seen = ?2 WHERE user_id = ?1 AND last_seen < ?2 - ?3")?;
    for user in users {
        update.execute([*user, now.unix_ms(), LAST_SEEN_GRANULARITY_MS])?;
    }
    Ok(())
}

pub(super) fn erase(db: &Connection, user: UserLabel) -> Result<u64, StoreError> {
    let user_id = column(user.0);
    if db.prepare_cached("DELETE FROM sessions WHERE user_id = ?1")?.execute([user_id])? == 0 {
        return Err(StoreError::NoSession { user });
    }
    summaries::delete(db, user_id, i64::MAX)?;
    tokens::delete_link(db, user_id)?;
    Ok(db.prepare_cached("DELETE FROM entries WHERE user_id = ?1")?.execute([user_id])? as u64)
}

pub(super) fn prune(db: &Connection, cutoffs: Cutoffs, limit: usize) -> Result<usize, StoreError> {
    tokens::prune_links(db, cutoffs.now)?;
    let sql = "DELETE FROM sessions WHERE user_id IN \
               (SELECT user_id FROM sessions WHERE seq = 0 AND last_seen < ?1 LIMIT ?2)";
    let mut removed = db.prepare_cached(sql)?.execute([cutoffs.empty_before.unix_ms(), column(limit as u64)])?;
    if let Some(since) = cutoffs.inactive_before.map(Timestamp::unix_ms) {
        removed += prune_inactive(db, since, limit.saturating_sub(removed))?;
    }
    let Some(kept) = cutoffs.entries_before.map(Timestamp::unix_ms) else { return Ok(removed) };
    while removed < limit {
        let sql = "SELECT user_id, swept FROM sessions WHERE oldest_at < ?1 ORDER BY oldest_at LIMIT 1";
        let found = db.prepare_cached(sql)?.query_row([kept], PruneTarget::read).optional()?;
        let Some(target) = found else { break };
        removed += prune_entries(db, target, kept, limit - removed)?;
    }
    // Sessions without any entry left: a retained entry keeps its session.
    let sql = "DELETE FROM sessions WHERE user_id IN \
               (SELECT user_id FROM sessions WHERE last_seen < ?1 AND oldest_at IS NULL LIMIT ?2)";
    removed += db.prepare_cached(sql)?.execute([kept, column(limit.saturating_sub(removed) as u64)])?;
    Ok(removed)
}

/// Removes sessions last used before `since`. Entries go first, so that a long conversation may take
/// several calls.
fn prune_inactive(db: &Connection, since: i64, limit: usize) -> Result<usize, StoreError> {
    let mut removed = 0;
    while removed < limit {
        let sql = "SELECT user_id, swept FROM sessions WHERE last_seen < ?1 AND oldest_at IS NOT NULL \
                   ORDER BY last_seen LIMIT 1";
        let found = db.prepare_cached(sql)?.query_row([since], PruneTarget::read).optional()?;
        let Some(target) = found else { break };
        removed += prune_entries(db, target, i64::MAX, limit - removed)?;
    }
    let sql = "DELETE FROM sessions WHERE user_id IN \
               (SELECT user_id FROM sessions WHERE last_seen < ?1 AND oldest_at IS NULL LIMIT ?2)";
    removed += db.prepare_cached(sql)?.execute([since, column(limit.saturating_sub(removed) as u64)])?;
    Ok(removed)
}

/// Session whose oldest entries are to be removed.
struct PruneTarget {
    user_id: i64,
    /// Highest `seq` already removed.
    pruned: i64,
}

impl PruneTarget {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { user_id: row.get("user_id")?, pruned: row.get("swept")? })
    }
}

/// Removes the oldest entries of a session, up to `limit`, that are older than `kept`.
fn prune_entries(db: &Connection, target: PruneTarget, kept: i64, limit: usize) -> Result<usize, StoreError> {
    let PruneTarget { user_id, pruned } = target;
    let sql = "SELECT seq, at FROM entries WHERE user_id = ?1 ORDER BY seq LIMIT ?2";
    let first = db
        .prepare_cached(sql)?
        .query_map([user_id, column(limit as u64 + 1)], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(i64, i64)>, _>>()?;
    let old = first.iter().take_while(|(_, at)| *at < kept).count().min(limit);
    let last = old.checked_sub(1).and_then(|at| first.get(at)).map_or(pruned, |(seq, _)| *seq);
    let removed =
        db.prepare_cached("DELETE FROM entries WHERE user_id = ?1 AND seq <= ?2")?.execute([user_id, last])?;
    let oldest = first.get(old).map(|(_, at)| *at);
    let sql = "UPDATE sessions SET swept = ?2, oldest_at = ?3 WHERE user_id = ?1";
    db.prepare_cached(sql)?.execute(params![user_id, last, oldest])?;
    summaries::delete(db, user_id, last)?;
    Ok(removed)
}

pub(super) fn reencrypt(
    db: &Connection,
    keys: &Keyring,
    token_key: &TokenKey,
    after: Option<EntryPosition>,
    limit: usize,
) -> Result<Option<EntryPosition>, StoreError> {
    let sql = "SELECT * FROM entries WHERE (?1, ?2) < (user_id, seq) ORDER BY user_id, seq LIMIT ?3";
    let mut last = None;
    for (position, row) in entries_after(db, sql, after, limit)? {
        let user = position.user;
        // Sessions with a summary have entries, so this reaches every summary.
        if last.is_none_or(|last: EntryPosition| last.user != user) {
            summaries::reencrypt(db, keys, user)?;
        }
        last = Some(position);
        if row.key_id.map(KeyId) != keys.current_id() || row.is_legacy() {
            reencrypt_entry(db, keys, user, row)?;
        }
    }
    if last.is_none() {
        put_token_key(db, keys, token_key)?;
    }
    Ok(last)
}

fn reencrypt_entry(db: &Connection, keys: &Keyring, user: UserLabel, row: EntryRow) -> Result<(), StoreError> {
    let seq = row.seq;
    let SealedContent { tag, sealed } = match row.reencrypt(user, keys) {
        Err(error @ StoreError::Damaged(_)) => {
            tracing::error!(%user, seq, %error, "damaged entry left unchanged");
            return Ok(());
        }
        reencrypted => reencrypted?,
    };
    let sql = "UPDATE entries SET role = ?3, key_id = ?4, text = ?5, finish = NULL, source = NULL \
               WHERE user_id = ?1 AND seq = ?2";
    let columns = params![column(user.0), seq, tag, sealed.key.map(|id| id.0), sealed.bytes];
    db.prepare_cached(sql)?.execute(columns)?;
    Ok(())
}

pub(super) fn reencrypt_legacy(
    db: &Connection,
    keys: &Keyring,
    after: Option<EntryPosition>,
    limit: usize,
) -> Result<Option<EntryPosition>, StoreError> {
    // Must equal the condition of the partial index `entries_to_convert`, or every call scans the table.
    let sql = "SELECT * FROM entries WHERE role IN ('user', 'assistant', 'support') AND (?1, ?2) < (user_id, seq) \
               ORDER BY user_id, seq LIMIT ?3";
    let mut last = None;
    for (position, row) in entries_after(db, sql, after, limit)? {
        last = Some(position);
        reencrypt_entry(db, keys, position.user, row)?;
    }
    Ok(last)
}

/// Reads up to `limit` rows that `sql` selects after a position, each with its own.
fn entries_after(
    db: &Connection,
    sql: &str,
    after: Option<EntryPosition>,
    limit: usize,
) -> Result<Vec<(EntryPosition, EntryRow)>, StoreError> {
    let (user, seq) = after.map_or((0, 0), |position| (column(position.user.0), column(position.seq)));
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([user, seq, column(limit as u64)], |row| {
        Ok((row.get::<_, i64>("user_id")?, queries::entry(row)?))
    })?;
    rows.map(|read| {
        let (user, row) = read?;
        Ok((EntryPosition { user: UserLabel(number(user)?), seq: number(row.seq)? }, row))
    })
    .collect()
}

/// Proves that a message could be stored: allocates the space of the longest one, rolls it back, and
/// leaves one dirty page for the commit to write and sync.
pub(super) fn prove_writable(db: &Connection, file: &DatabaseFile) -> Result<(), StoreError> {
    // On a full disk a short commit may still fit into the allocated write-ahead log.
    file.check_free_space()?;
    db.execute_batch(
        "SAVEPOINT room; \
         INSERT INTO keys (name, value) VALUES ('room', zeroblob(131072)); \
         ROLLBACK TO room; \
         RELEASE room",
    )?;
    // Setting the same number dirties a page, too.
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(db.pragma_update(None, "user_version", version)?)
}
