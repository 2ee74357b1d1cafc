//! Store on a PostgreSQL server, for several cores.
//!
//! Every call runs prepared statements on a pooled connection, in one round trip except for background
//! work. A statement commits by itself: it is on the server's disk before its caller returns, unless the
//! server's owner has set `synchronous_commit` or `fsync` to `off`.
//!
//! A call runs in a task that owns its connection, so that a dropped caller, as after a client's
//! deadline, does not cancel the statement, and the connection returns to the pool. If it were closed
//! in mid-statement, clients with short deadlines would make the core reconnect again and again, each
//! time with TLS, authentication and a new server process.

mod append;
mod changes;
mod error;
mod forget;
mod open;
mod pool;
mod pooled_connection;
mod prune;
mod queries;
mod referrals;
mod summaries;
mod tokens;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use protocol::server_frame::{Entry, Forgotten};
use protocol::{Country, LinkCode, Locale, MessageId, ResumeToken, Timestamp, UserLabel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api::Store;
use super::error::{OpenError, StoreError};
use super::keys::{Keyring, TokenKey};
use super::model::{
    Appended, Cutoffs, EntryPosition, Forget, NewEntry, NewLink, NewSession, Page, ReadableEntries, Recent,
    ReferralBatch, ReferralCount, SessionRecord, Summary,
};
use super::url::PostgresUrl;
use crate::{DatabaseMeter, PoolUse};
use changes::DatabaseKeys;
use pool::ConnectionPool;
use pooled_connection::PooledConnection;

/// Store in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    connections: ConnectionPool,
    keys: Arc<Keyring>,
    token_key: TokenKey,
    calls: TaskTracker,
}

impl PostgresStore {
    /// Opens the database at `url` with a pool of at most `max_connections`, and migrates its schema. Safe
    /// while other cores do the same.
    ///
    /// # Errors
    ///
    /// The server is unreachable or denies access, or the database has a later schema or is sealed under
    /// a key that is not in `keys`.
    pub async fn open(url: &PostgresUrl, max_connections: usize, keys: Keyring) -> Result<Self, OpenError> {
        let database = url.to_string();
        let connections = ConnectionPool::new(url, max_connections)
            .map_err(|source| OpenError::Unreachable { database: database.clone(), source })?;
        open::migrate(&connections, &database).await?;
        let token_key = open::token_key(&connections, &keys).await;
        let token_key = token_key.map_err(|error| open::unusable(&database, error))?;
        let keys = Arc::new(keys.for_database(&token_key));
        Ok(Self { connections, keys, token_key, calls: TaskTracker::new() })
    }

    /// Runs `call` on a pooled connection.
    ///
    /// # Cancel safety
    ///
    /// A running call completes even if the caller is dropped; a call that still waits for its connection
    /// does not start.
    async fn run<T, F>(&self, call: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut PooledConnection) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    {
        let connections = self.connections.clone();
        let gone = CancellationToken::new();
        // Cancelled when this future is dropped.
        let _caller = gone.clone().drop_guard();
        let task = self.calls.spawn(async move {
            let connection = connections.acquire().await;
            if gone.is_cancelled() {
                return Err(StoreError::unavailable("the caller has gone away"));
            }
            let mut connection = connection?;
            match call(&mut connection).await {
                // A lagging standby must not prove absence: a live session would end as erased.
                Err(StoreError::NoSession { .. }) if !connection.may_write() => Err(behind()),
                outcome => outcome,
            }
        });
        match task.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(StoreError::unavailable("the program ends")),
        }
    }
}

fn behind() -> StoreError {
    StoreError::unavailable("not found on a server that only reads now, and may be behind")
}

#[async_trait]
impl Store for PostgresStore {
    async fn create_session(&self, session: NewSession) -> Result<SessionRecord, StoreError> {
        let token = self.token_key.hash(&session.token);
        self.run(move |connection| Box::pin(async move { changes::create_session(connection, &session, token).await }))
            .await
    }

    async fn session_by_token(&self, token: &ResumeToken) -> Result<Option<SessionRecord>, StoreError> {
        let token = self.token_key.hash(token);
        self.run(move |connection| Box::pin(queries::session_by_token(connection, token))).await
    }

    async fn session(&self, user: UserLabel) -> Result<Option<SessionRecord>, StoreError> {
        self.run(move |connection| Box::pin(queries::session_by_user(connection, user))).await
    }

    async fn rotate_token(&self, user: UserLabel, token: ResumeToken) -> Result<u64, StoreError> {
        let token = self.token_key.hash(&token);
        self.run(move |connection| Box::pin(tokens::rotate(connection, user, token))).await
    }

    async fn put_link(&self, user: UserLabel, link: NewLink) -> Result<(), StoreError> {
        let NewLink { code, token, expires_at } = link;
        let (hash, sealed) = (self.token_key.link_hash(&code), self.token_key.seal_link(&code, &token));
        self.run(move |connection| {
            Box::pin(async move { tokens::put_link(connection, user, hash, &sealed, expires_at).await })
        })
        .await
    }

    async fn take_link(&self, code: &LinkCode, now: Timestamp) -> Result<Option<ResumeToken>, StoreError> {
        let hash = self.token_key.link_hash(code);
        let taken = self.run(move |connection| Box::pin(tokens::take_link(connection, hash, now))).await?;
        taken.map(|sealed| self.token_key.open_link(code, sealed)).transpose()
    }

    async fn append(&self, user: UserLabel, after: u64, entry: NewEntry) -> Result<Appended, StoreError> {
        let (keys, position) = (Arc::clone(&self.keys), EntryPosition { user, seq: after });
        self.run(move |connection| Box::pin(async move { append::append(connection, &keys, position, &entry).await }))
            .await
    }

    async fn forget(&self, user: UserLabel, forget: Forget) -> Result<Option<(Forgotten, u64)>, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.run(move |connection| Box::pin(async move { forget::forget(connection, &keys, user, &forget).await }))
            .await
    }

    async fn forget_summary(&self, user: UserLabel) -> Result<(), StoreError> {
        self.run(move |connection| Box::pin(summaries::forget(connection, user))).await
    }

    async fn entries_of(&self, user: UserLabel, id: &MessageId) -> Result<Vec<Entry>, StoreError> {
        let (keys, id) = (Arc::clone(&self.keys), id.clone());
        self.run(move |connection| Box::pin(async move { queries::entries_of(connection, &keys, user, &id).await }))
            .await
    }

    async fn entries(&self, user: UserLabel, page: Page) -> Result<Vec<Entry>, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.run(move |connection| Box::pin(async move { queries::entries(connection, &keys, user, page).await })).await
    }

    async fn readable_entries(&self, user: UserLabel, page: Page) -> Result<ReadableEntries, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.run(move |connection| {
            Box::pin(async move { queries::readable_entries(connection, &keys, user, page).await })
        })
        .await
    }

    async fn recent(&self, user: UserLabel, limit: usize) -> Result<Recent, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.run(move |connection| Box::pin(async move { summaries::recent(connection, &keys, user, limit).await }))
            .await
    }

    async fn put_summary(&self, user: UserLabel, summary: Summary) -> Result<bool, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.run(move |connection| Box::pin(async move { summaries::put(connection, &keys, user, &summary).await }))
            .await
    }

    async fn set_locale(&self, user: UserLabel, locale: Locale) -> Result<(), StoreError> {
        self.run(move |connection| Box::pin(changes::set_locale(connection, user, locale))).await
    }

    async fn set_country(&self, user: UserLabel, country: Country) -> Result<(), StoreError> {
        self.run(move |connection| Box::pin(changes::set_country(connection, user, country))).await
    }

    async fn touch(&self, users: &[UserLabel], now: Timestamp) -> Result<(), StoreError> {
        let users = users.to_vec();
        self.run(move |connection| Box::pin(async move { changes::touch(connection, &users, now).await })).await
    }

    async fn erase(&self, user: UserLabel) -> Result<u64, StoreError> {
        self.run(move |connection| Box::pin(changes::erase(connection, user))).await
    }

    async fn prune(&self, cutoffs: Cutoffs, limit: usize) -> Result<usize, StoreError> {
        self.run(move |connection| Box::pin(prune::prune(connection, cutoffs, limit))).await
    }

    async fn count_referrals(&self, batch: ReferralBatch) -> Result<(), StoreError> {
        self.run(move |connection| Box::pin(async move { referrals::count(connection, &batch).await })).await
    }

    async fn referrals(&self, year: u16) -> Result<Vec<ReferralCount>, StoreError> {
        self.run(move |connection| Box::pin(referrals::of_year(connection, year))).await
    }

    async fn reencrypt(&self, after: Option<EntryPosition>, limit: usize) -> Result<Option<EntryPosition>, StoreError> {
        let (keys, token_key) = (Arc::clone(&self.keys), self.token_key.clone());
        self.run(move |connection| {
            Box::pin(async move {
                changes::reencrypt(connection, DatabaseKeys { keys: &keys, token_key: &token_key }, after, limit).await
            })
        })
        .await
    }

    async fn reencrypt_legacy(
        &self,
        after: Option<EntryPosition>,
        limit: usize,
    ) -> Result<Option<EntryPosition>, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.run(move |connection| {
            Box::pin(async move { changes::reencrypt_legacy(connection, &keys, after, limit).await })
        })
        .await
    }

    fn pool(&self) -> Option<(PoolUse, DatabaseMeter)> {
        Some(self.connections.usage())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.run(|connection| Box::pin(async move { Ok(connection.prove_writable().await?) })).await
    }
}

#[cfg(test)]
mod tests;
