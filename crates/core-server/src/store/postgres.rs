//! The store that several cores share: a PostgreSQL server.
//!
//! Everything is a prepared statement on a connection out of a pool, and one round trip but for
//! what is done in the background. A statement commits by itself: it is on the server's disk
//! before anyone is told, unless its owner set `synchronous_commit` or `fsync` to `off`.

mod appending;
mod changes;
mod opening;
mod pool;
mod queries;
mod summaries;
mod sweeping;

use async_trait::async_trait;
use protocol::server_frame::Entry;
use protocol::{Locale, MessageId, ResumeToken, Timestamp, UserLabel};

use super::keys::{Keyring, TokenKey};
use super::rows::column;
use super::{
    Appended, Cutoffs, NewEntry, NewSession, OpenError, Page, Place, PostgresUrl, Recent, SessionRecord, Store,
    StoreError, Summary,
};
use crate::metrics::{DatabaseMeter, PoolUse};
use pool::Connections;

/// Sessions in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    connections: Connections,
    keys: Keyring,
    token_key: TokenKey,
}

impl PostgresStore {
    /// Connects to the database at `url`, with at most `max_connections` at once, and brings its
    /// tables up to date. Other cores may do the same at the same time.
    ///
    /// # Errors
    ///
    /// The server cannot be reached or does not let us in, or the database is from a later
    /// version of this program; or its contents are under a key that is not in `keys`.
    pub async fn open(url: &PostgresUrl, max_connections: usize, keys: Keyring) -> Result<Self, OpenError> {
        let database = url.to_string();
        let connections = Connections::new(url, max_connections)
            .map_err(|source| OpenError::Unreachable { database: database.clone(), source })?;
        opening::migrate(&connections, &database).await?;
        let token_key = opening::token_key(&connections, &keys).await;
        let token_key = token_key.map_err(|error| opening::unusable(&database, error))?;
        Ok(Self { connections, keys, token_key })
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn create_session(&self, session: NewSession) -> Result<SessionRecord, StoreError> {
        let token = self.token_key.hash(&session.token);
        changes::create_session(&mut self.connections.lease().await?, &session, token).await
    }

    async fn session_by_token(&self, token: &ResumeToken) -> Result<Option<SessionRecord>, StoreError> {
        let token = self.token_key.hash(token);
        let mut lease = self.connections.lease().await?;
        let rows = lease.query(queries::SESSION_BY_TOKEN, &[&token.as_bytes().as_slice()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let stored: &[u8] = queries::get(row, "token_hash")?;
        if token.matches(stored) { queries::session(row)?.read().map(Some) } else { Ok(None) }
    }

    async fn append(&self, user: UserLabel, after: u64, entry: NewEntry) -> Result<Appended, StoreError> {
        let mut lease = self.connections.lease().await?;
        appending::append(&mut lease, &self.keys, Place { user, seq: after }, &entry).await
    }

    async fn entries_of(&self, user: UserLabel, id: &MessageId) -> Result<Vec<Entry>, StoreError> {
        let mut lease = self.connections.lease().await?;
        let rows = lease.query(queries::ENTRIES_OF, &[&column(user.0), &id.as_str()]).await?;
        queries::read_entries(&rows, user, &self.keys)
    }

    async fn entries(&self, user: UserLabel, page: Page) -> Result<Vec<Entry>, StoreError> {
        let (sql, seq, limit) = queries::entries(page);
        let mut lease = self.connections.lease().await?;
        let rows = lease.query(sql, &[&column(user.0), &column(seq), &column(limit as u64)]).await?;
        queries::read_entries(&rows, user, &self.keys)
    }

    async fn recent(&self, user: UserLabel, limit: usize) -> Result<Recent, StoreError> {
        summaries::recent(&mut self.connections.lease().await?, &self.keys, user, limit).await
    }

    async fn put_summary(&self, user: UserLabel, summary: Summary) -> Result<bool, StoreError> {
        summaries::put(&mut self.connections.lease().await?, &self.keys, user, &summary).await
    }

    async fn set_locale(&self, user: UserLabel, locale: Locale) -> Result<(), StoreError> {
        changes::set_locale(&mut self.connections.lease().await?, user, locale).await
    }

    async fn touch(&self, users: &[UserLabel], now: Timestamp) -> Result<(), StoreError> {
        changes::touch(&mut self.connections.lease().await?, users, now).await
    }

    async fn erase(&self, user: UserLabel) -> Result<u64, StoreError> {
        changes::erase(&mut self.connections.lease().await?, user).await
    }

    async fn sweep(&self, cutoffs: Cutoffs, limit: usize) -> Result<usize, StoreError> {
        sweeping::sweep(&mut self.connections.lease().await?, cutoffs, limit).await
    }

    async fn reseal(&self, after: Option<Place>, limit: usize) -> Result<Option<Place>, StoreError> {
        let keys = (&self.keys, &self.token_key);
        changes::reseal(&mut self.connections.lease().await?, keys, after, limit).await
    }

    fn pool(&self) -> Option<(PoolUse, DatabaseMeter)> {
        Some(self.connections.usage())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(self.connections.lease().await?.query("SELECT 1", &[]).await.map(drop)?)
    }
}
