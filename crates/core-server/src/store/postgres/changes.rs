//! What is written, but for appending.

use protocol::{Locale, Timestamp, UserLabel};

use super::lease::Lease;
use super::queries::{self, get};
use super::summaries;
use crate::store::keys::{KeyId, Keyring, Sealed, TokenHash, TokenKey};
use crate::store::rows::{SEEN_GRAIN_MS, column, number};
use crate::store::{NewSession, Place, SessionRecord, StoreError};

pub(super) async fn create_session(
    lease: &mut Lease,
    session: &NewSession,
    token: TokenHash,
) -> Result<SessionRecord, StoreError> {
    // Repeated, it changes nothing and finds the session all the same.
    let sql = "INSERT INTO sessions (session_id, token_hash, locale, created_at, last_seen) \
               VALUES ($1, $2, $3, $4, $4) ON CONFLICT (token_hash) DO UPDATE SET seq = sessions.seq \
               RETURNING user_id, session_id, locale, created_at, seq, messages, swept";
    let (id, locale) = (session.id.as_str(), session.locale.to_string());
    let at = session.created_at.unix_ms();
    let rows = lease.query(sql, &[&id, &token.as_bytes().as_slice(), &locale, &at]).await?;
    let row = rows.first().ok_or_else(|| StoreError::Damaged("a new session".to_owned()))?;
    queries::session(row)?.read()
}

pub(super) async fn set_locale(lease: &mut Lease, user: UserLabel, locale: Locale) -> Result<(), StoreError> {
    let sql = "UPDATE sessions SET locale = $2 WHERE user_id = $1";
    let changed = lease.execute(sql, &[&column(user.0), &locale.to_string()]).await?;
    if changed == 0 { Err(StoreError::NoSession { user }) } else { Ok(()) }
}

pub(super) async fn touch(lease: &mut Lease, users: &[UserLabel], now: Timestamp) -> Result<(), StoreError> {
    let users: Vec<i64> = users.iter().map(|user| column(user.0)).collect();
    // Locked in order, so that two cores with sessions in common do not wait for each other.
    let sql = "UPDATE sessions SET last_seen = $2 WHERE last_seen < $3 AND user_id = ANY(ARRAY \
               (SELECT user_id FROM sessions WHERE user_id = ANY($1) AND last_seen < $3 \
                ORDER BY user_id FOR NO KEY UPDATE))";
    let now = now.unix_ms();
    Ok(lease.execute(sql, &[&users, &now, &(now - SEEN_GRAIN_MS)]).await.map(drop)?)
}

pub(super) async fn erase(lease: &mut Lease, user: UserLabel) -> Result<u64, StoreError> {
    // One transaction, one round trip. A statement each, because the later ones must also see what was
    // written while the first waited for the session; a number cannot be anything else than that.
    let user_id = column(user.0);
    let delete = |table| format!("DELETE FROM {table} WHERE user_id = {user_id}");
    let sql = ["sessions", "summaries", "entries"].map(delete).join("; ");
    match lease.batch(&sql).await?[..] {
        [1, _, entries] => Ok(entries),
        _ => Err(StoreError::NoSession { user }),
    }
}

pub(super) async fn reseal(
    lease: &mut Lease,
    (keys, token_key): (&Keyring, &TokenKey),
    after: Option<Place>,
    limit: usize,
) -> Result<Option<Place>, StoreError> {
    let from = after.map_or((0, 0), |place| (column(place.user.0), column(place.seq)));
    let sql = "SELECT user_id, seq, message_id, role, key_id, text, at, finish, source FROM entries \
               WHERE ($1::bigint, $2::bigint) < (user_id, seq) ORDER BY user_id, seq LIMIT $3";
    let rows = lease.query(sql, &[&from.0, &from.1, &column(limit as u64)]).await?;
    let (mut users, mut seqs, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    let mut sessions: Vec<i64> = Vec::new();
    let mut last = None;
    for row in &rows {
        let (user_id, row) = (get(row, "user_id")?, queries::entry(row)?);
        sessions.push(user_id);
        let (user, seq, key) = (UserLabel(number(user_id)?), row.seq, row.key_id.map(KeyId));
        let place = Place { user, seq: number(seq)? };
        last = Some(place);
        if key != keys.current_id() {
            let text = match row.read(user, keys) {
                Err(error @ StoreError::Damaged(_)) => {
                    tracing::error!(%user, seq, %error, "an entry does not open, and stays as it is");
                    continue;
                }
                read => read?.text,
            };
            users.push(user_id);
            seqs.push(seq);
            texts.push(keys.seal(place, &text).bytes);
        }
    }
    let key = keys.current_id().map(|id| id.0);
    if !texts.is_empty() {
        let sql = "UPDATE entries SET key_id = $1, text = new.text \
                   FROM unnest($2::bigint[], $3::bigint[], $4::bytea[]) AS new (user_id, seq, text) \
                   WHERE entries.user_id = new.user_id AND entries.seq = new.seq";
        lease.execute(sql, &[&key, &users, &seqs, &texts]).await?;
    }
    // A summary's session has entries: what it draws on.
    sessions.dedup();
    summaries::reseal(lease, keys, &sessions).await?;
    if last.is_none() {
        let Sealed { bytes, .. } = token_key.seal(keys);
        lease.execute("UPDATE keys SET key_id = $1, value = $2 WHERE name = 'resume_tokens'", &[&key, &bytes]).await?;
    }
    Ok(last)
}
