//! Store in an SQLite file, the default.
//!
//! One thread writes, with group commit: changes that arrive during a commit share the next one. Readers
//! have connections of their own and never wait for the writer (WAL). With `synchronous=FULL` a commit
//! is on disk before its callers return. Recent history is cached as it is written (`recent_cache.rs`):
//! [`Store::recent`] may miss changes of another process until this one makes its next change.

mod changes;
mod checkpointer;
mod connection;
mod queries;
mod readers;
mod recent_cache;
mod referrals;
mod summaries;
mod tokens;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use protocol::server_frame::{Entry, Forgotten};
use protocol::{Country, LinkCode, Locale, MessageId, ResumeToken, Timestamp, UserLabel};
use rusqlite::{Connection, OptionalExtension as _};

use super::api::Store;
use super::error::{OpenError, StoreError};
use super::keys::{Keyring, TokenKey};
use super::model::{
    Appended, Cutoffs, EntryPosition, Forget, NewEntry, NewLink, NewSession, Page, ReadableEntries, Recent,
    ReferralBatch, ReferralCount, SessionRecord, Summary,
};
use super::rows::{SessionRow, column};
use connection::DatabaseFile;
pub(super) use connection::{create_folder, display_name, unreachable};
use readers::Readers;
use recent_cache::{MAX_CACHE_BYTES, RecentHistoryCache};
use writer::Writer;

/// Sessions in an SQLite database.
#[derive(Debug)]
pub struct SqliteStore {
    file: Arc<DatabaseFile>,
    // Dropped before the writer: the connection that is closed last checkpoints the write-ahead log.
    readers: Readers,
    writer: Writer,
    cache: Arc<RecentHistoryCache>,
    keys: Arc<Keyring>,
    token_key: TokenKey,
}

impl SqliteStore {
    /// Opens or creates the database in `file`, with its folder, and migrates its schema.
    ///
    /// # Errors
    ///
    /// The file cannot be read and written, is no database, has a later schema, or is sealed under a key
    /// that is not in `keys`.
    pub async fn open(file: &Path, keys: Keyring) -> Result<Self, OpenError> {
        let file = file.to_owned();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(file, keys)).await;
        opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    fn open_blocking(file: PathBuf, keys: Keyring) -> Result<Self, OpenError> {
        let mut db = connection::create(&file)?;
        let token_key = changes::token_key(&mut db, &keys)
            .map_err(|source| OpenError::Contents { database: display_name(&file), source })?;
        let keys = Arc::new(keys.for_database(&token_key));
        let found = DatabaseFile::find(file.clone());
        let file = Arc::new(found.map_err(|source| connection::unreachable(&file, source))?);
        let readers = Readers::new(Arc::clone(&file));
        let cache = Arc::new(RecentHistoryCache::new(MAX_CACHE_BYTES));
        let writer = Writer::start(Arc::clone(&file), db, Arc::clone(&cache));
        Ok(Self { file, readers, writer, cache, keys, token_key })
    }

    async fn read_entries(
        &self,
        user: UserLabel,
        query: impl FnOnce(&Connection) -> rusqlite::Result<Vec<super::rows::EntryRow>> + Send + 'static,
    ) -> Result<Vec<Entry>, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.readers
            .read(move |db| {
                let rows = query(db)?;
                queries::decrypt_entries(db, &keys, user, rows)
            })
            .await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn create_session(&self, session: NewSession) -> Result<SessionRecord, StoreError> {
        let token = self.token_key.hash(&session.token);
        self.writer.change(move |db| changes::create_session(db, &session, token), cache_unaffected).await
    }

    async fn session_by_token(&self, token: &ResumeToken) -> Result<Option<SessionRecord>, StoreError> {
        let token = self.token_key.hash(token);
        let found = self.readers.read(move |db| Ok(queries::session_by_token(db, token).optional()?)).await?;
        found.filter(|(_, stored)| token.matches(stored)).map(|(row, _)| row.read()).transpose()
    }

    async fn session(&self, user: UserLabel) -> Result<Option<SessionRecord>, StoreError> {
        let found = self.readers.read(move |db| Ok(queries::session_by_user(db, user).optional()?)).await?;
        found.map(SessionRow::read).transpose()
    }

    async fn rotate_token(&self, user: UserLabel, token: ResumeToken) -> Result<u64, StoreError> {
        let token = self.token_key.hash(&token);
        self.writer.change(move |db| tokens::rotate(db, user, token), cache_unaffected).await
    }

    async fn put_link(&self, user: UserLabel, link: NewLink) -> Result<(), StoreError> {
        let NewLink { code, token, expires_at } = link;
        let (hash, sealed) = (self.token_key.link_hash(&code), self.token_key.seal_link(&code, &token));
        self.writer.change(move |db| tokens::put_link(db, user, hash, &sealed, expires_at), cache_unaffected).await
    }

    async fn take_link(&self, code: &LinkCode, now: Timestamp) -> Result<Option<ResumeToken>, StoreError> {
        let hash = self.token_key.link_hash(code);
        let taken = self.writer.removal(move |db| tokens::take_link(db, hash, now), cache_unaffected).await?;
        taken.map(|sealed| self.token_key.open_link(code, sealed)).transpose()
    }

    async fn append(&self, user: UserLabel, _after: u64, entry: NewEntry) -> Result<Appended, StoreError> {
        let keys = Arc::clone(&self.keys);
        let append = move |db: &Connection| changes::append(db, &keys, user, &entry);
        let update_cache = move |appended: &Appended, cache: &RecentHistoryCache| match appended {
            Appended::New(entry) => cache.appended(user, entry),
            Appended::Existing { .. } | Appended::Forgotten(_) => {}
        };
        self.writer.change(append, update_cache).await
    }

    async fn forget(&self, user: UserLabel, forget: Forget) -> Result<Option<(Forgotten, u64)>, StoreError> {
        let keys = Arc::clone(&self.keys);
        let update = move |db: &Connection| changes::forget(db, &keys, user, &forget);
        self.writer.removal(update, move |_, cache| cache.evict(user)).await
    }

    async fn forget_summary(&self, user: UserLabel) -> Result<(), StoreError> {
        self.writer.removal(move |db| summaries::forget(db, user), move |(), cache| cache.evict(user)).await
    }

    async fn entries_of(&self, user: UserLabel, id: &MessageId) -> Result<Vec<Entry>, StoreError> {
        let id = id.clone();
        self.read_entries(user, move |db| queries::entries_of(db, user, &id)).await
    }

    async fn entries(&self, user: UserLabel, page: Page) -> Result<Vec<Entry>, StoreError> {
        self.read_entries(user, move |db| queries::entries(db, user, page)).await
    }

    async fn readable_entries(&self, user: UserLabel, page: Page) -> Result<ReadableEntries, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.readers.read(move |db| queries::readable_entries(db, &keys, user, page)).await
    }

    async fn recent(&self, user: UserLabel, limit: usize) -> Result<Recent, StoreError> {
        if let Some(recent) = self.cache.recent(user, limit) {
            return Ok(recent);
        }
        let pending = self.cache.begin_read(user);
        let keys = Arc::clone(&self.keys);
        let (recent, is_whole) = self.readers.read(move |db| summaries::recent(db, &keys, user, limit)).await?;
        // History with a gap must not be cached: the next append could not be recognized as adjacent.
        if is_whole {
            pending.store(&recent, limit);
        }
        Ok(recent)
    }

    async fn put_summary(&self, user: UserLabel, summary: Summary) -> Result<bool, StoreError> {
        let keys = Arc::clone(&self.keys);
        let summary = Arc::new(summary);
        let kept = Arc::clone(&summary);
        let put = move |db: &Connection| summaries::put(db, &keys, user, &summary);
        let update_cache = move |put: &bool, cache: &RecentHistoryCache| {
            if *put {
                cache.summarized_up_to(user, &kept);
            }
        };
        self.writer.change(put, update_cache).await
    }

    async fn set_locale(&self, user: UserLabel, locale: Locale) -> Result<(), StoreError> {
        self.writer.change(move |db| changes::set_locale(db, user, locale), cache_unaffected).await
    }

    async fn set_country(&self, user: UserLabel, country: Country) -> Result<(), StoreError> {
        self.writer.change(move |db| changes::set_country(db, user, country), cache_unaffected).await
    }

    async fn touch(&self, users: &[UserLabel], now: Timestamp) -> Result<(), StoreError> {
        let users: Vec<i64> = users.iter().map(|user| column(user.0)).collect();
        self.writer.change(move |db| changes::touch(db, &users, now), cache_unaffected).await
    }

    async fn erase(&self, user: UserLabel) -> Result<u64, StoreError> {
        self.writer.removal(move |db| changes::erase(db, user), move |_, cache| cache.evict(user)).await
    }

    async fn prune(&self, cutoffs: Cutoffs, limit: usize) -> Result<usize, StoreError> {
        let update_cache = |removed: &usize, cache: &RecentHistoryCache| {
            if 0 < *removed {
                cache.clear();
            }
        };
        self.writer.removal(move |db| changes::prune(db, cutoffs, limit), update_cache).await
    }

    async fn count_referrals(&self, batch: ReferralBatch) -> Result<(), StoreError> {
        self.writer.change(move |db| referrals::count(db, &batch), cache_unaffected).await
    }

    async fn referrals(&self, year: u16) -> Result<Vec<ReferralCount>, StoreError> {
        self.readers.read(move |db| referrals::of_year(db, year)).await
    }

    async fn reencrypt(&self, after: Option<EntryPosition>, limit: usize) -> Result<Option<EntryPosition>, StoreError> {
        let (keys, token_key) = (Arc::clone(&self.keys), self.token_key.clone());
        // The cache holds plain texts, which re-encryption does not change.
        self.writer.removal(move |db| changes::reencrypt(db, &keys, &token_key, after, limit), cache_unaffected).await
    }

    async fn reencrypt_legacy(
        &self,
        after: Option<EntryPosition>,
        limit: usize,
    ) -> Result<Option<EntryPosition>, StoreError> {
        let keys = Arc::clone(&self.keys);
        // The cache holds plain texts, which re-encryption does not change.
        self.writer.removal(move |db| changes::reencrypt_legacy(db, &keys, after, limit), cache_unaffected).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        // Through the writer, as a message would be stored.
        let file = Arc::clone(&self.file);
        self.writer.change(move |db| changes::prove_writable(db, &file), cache_unaffected).await
    }
}

/// Cache update of a change that does not concern the cache.
fn cache_unaffected<T>(_made: &T, _remembered: &RecentHistoryCache) {}

#[cfg(test)]
mod tests;
