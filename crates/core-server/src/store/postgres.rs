//! The store that several cores share: a PostgreSQL server.
//!
//! Everything is a prepared statement on a connection out of a pool, and one round trip but for
//! what is done in the background. A statement commits by itself: it is on the server's disk
//! before anyone is told, unless its owner set `synchronous_commit` or `fsync` to `off`.
//!
//! A call runs in a task that owns its connection. A caller that goes away, as when a client's deadline
//! is over, ends the waiting and nothing else: the statement comes to its end and the connection
//! goes back to the pool. Closed in mid-statement, a client with short deadlines would have the core
//! connect again and again, each time with TLS, a password and a new process on the server.

mod appending;
mod changes;
mod failure;
mod lease;
mod opening;
mod pool;
mod queries;
mod referrals;
mod summaries;
mod sweeping;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use protocol::server_frame::Entry;
use protocol::{Country, Locale, MessageId, ResumeToken, Timestamp, UserLabel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keys::{Keyring, TokenKey};
use super::{
    Appended, Cutoffs, NewEntry, NewSession, OpenError, Page, Place, PostgresUrl, ReadableEntries, Recent,
    ReferralBatch, ReferralCount, SessionRecord, Store, StoreError, Summary,
};
use crate::store::{DatabaseMeter, PoolUse};
use lease::Lease;
use pool::Connections;

/// Sessions in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    connections: Connections,
    keys: Arc<Keyring>,
    token_key: TokenKey,
    calls: TaskTracker,
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
        let keys = Arc::new(keys.of_database(&token_key));
        Ok(Self { connections, keys, token_key, calls: TaskTracker::new() })
    }

    /// Makes `call` on a connection, to its end even if the caller goes away meanwhile; not at all
    /// if it goes away while it waits for the connection.
    async fn run<T, F>(&self, call: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Lease) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    {
        let connections = self.connections.clone();
        let gone = CancellationToken::new();
        let _caller = gone.clone().drop_guard();
        let task = self.calls.spawn(async move {
            let lease = connections.lease().await;
            if gone.is_cancelled() {
                return Err(StoreError::unavailable("the caller has gone away"));
            }
            let mut lease = lease?;
            match call(&mut lease).await {
                // A standby that is behind does not know what exists: a live session would end as erased.
                Err(StoreError::NoSession { .. }) if !lease.may_write() => Err(behind()),
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
        self.run(move |lease| Box::pin(async move { changes::create_session(lease, &session, token).await })).await
    }

    async fn session_by_token(&self, token: &ResumeToken) -> Result<Option<SessionRecord>, StoreError> {
        let token = self.token_key.hash(token);
        self.run(move |lease| Box::pin(queries::session_by_token(lease, token))).await
    }

    async fn append(&self, user: UserLabel, after: u64, entry: NewEntry) -> Result<Appended, StoreError> {
        let (keys, place) = (Arc::clone(&self.keys), Place { user, seq: after });
        self.run(move |lease| Box::pin(async move { appending::append(lease, &keys, place, &entry).await })).await
    }

    async fn entries_of(&self, user: UserLabel, id: &MessageId) -> Result<Vec<Entry>, StoreError> {
        let (keys, id) = (Arc::clone(&self.keys), id.clone());
        self.run(move |lease| Box::pin(async move { queries::entries_of(lease, &keys, user, &id).await })).await
    }

    async fn entries(&self, user: UserLabel, page: Page) -> Result<Vec<Entry>, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.run(move |lease| Box::pin(async move { queries::entries(lease, &keys, user, page).await })).await
    }

    async fn readable_entries(&self, user: UserLabel, page: Page) -> Result<ReadableEntries, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.run(move |lease| Box::pin(async move { queries::readable_entries(lease, &keys, user, page).await })).await
    }

    async fn recent(&self, user: UserLabel, limit: usize) -> Result<Recent, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.run(move |lease| Box::pin(async move { summaries::recent(lease, &keys, user, limit).await })).await
    }

    async fn put_summary(&self, user: UserLabel, summary: Summary) -> Result<bool, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.run(move |lease| Box::pin(async move { summaries::put(lease, &keys, user, &summary).await })).await
    }

    async fn set_locale(&self, user: UserLabel, locale: Locale) -> Result<(), StoreError> {
        self.run(move |lease| Box::pin(changes::set_locale(lease, user, locale))).await
    }

    async fn set_country(&self, user: UserLabel, country: Country) -> Result<(), StoreError> {
        self.run(move |lease| Box::pin(changes::set_country(lease, user, country))).await
    }

    async fn touch(&self, users: &[UserLabel], now: Timestamp) -> Result<(), StoreError> {
        let users = users.to_vec();
        self.run(move |lease| Box::pin(async move { changes::touch(lease, &users, now).await })).await
    }

    async fn erase(&self, user: UserLabel) -> Result<u64, StoreError> {
        self.run(move |lease| Box::pin(changes::erase(lease, user))).await
    }

    async fn sweep(&self, cutoffs: Cutoffs, limit: usize) -> Result<usize, StoreError> {
        self.run(move |lease| Box::pin(sweeping::sweep(lease, cutoffs, limit))).await
    }

    async fn count_referrals(&self, batch: ReferralBatch) -> Result<(), StoreError> {
        self.run(move |lease| Box::pin(async move { referrals::count(lease, &batch).await })).await
    }

    async fn referrals(&self, year: u16) -> Result<Vec<ReferralCount>, StoreError> {
        self.run(move |lease| Box::pin(referrals::of_year(lease, year))).await
    }

    async fn reseal(&self, after: Option<Place>, limit: usize) -> Result<Option<Place>, StoreError> {
        let (keys, token_key) = (Arc::clone(&self.keys), self.token_key.clone());
        self.run(move |lease| Box::pin(async move { changes::reseal(lease, (&keys, &token_key), after, limit).await }))
            .await
    }

    async fn convert(&self, after: Option<Place>, limit: usize) -> Result<Option<Place>, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.run(move |lease| Box::pin(async move { changes::convert(lease, &keys, after, limit).await })).await
    }

    fn pool(&self) -> Option<(PoolUse, DatabaseMeter)> {
        Some(self.connections.usage())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.run(|lease| Box::pin(async move { Ok(lease.prove_writable().await?) })).await
    }
}

#[cfg(test)]
mod tests;
