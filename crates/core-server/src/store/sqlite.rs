//! The default store: one file, nothing to install.
//!
//! One thread writes and commits in groups: whatever comes while a commit is under way is
//! committed with the next. Readers have connections of their own and never wait for it (WAL).
//! `synchronous=FULL`: a commit is on the disk before anyone is told.

mod changes;
mod checkpointer;
mod connection;
mod queries;
mod readers;
mod summaries;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use protocol::server_frame::Entry;
use protocol::{Locale, MessageId, ResumeToken, Timestamp, UserLabel};
use rusqlite::OptionalExtension as _;

use super::keys::{Keyring, TokenKey};
use super::rows::column;
use super::{
    Appended, Cutoffs, NewEntry, NewSession, OpenError, Page, Place, Recent, SessionRecord, Store, StoreError, Summary,
};
use connection::file_name;
use readers::Readers;
use writer::Writer;

/// Sessions in an SQLite database.
#[derive(Debug)]
pub struct SqliteStore {
    // Before the writer: the last connection to be closed empties the write-ahead log.
    readers: Readers,
    writer: Writer,
    keys: Arc<Keyring>,
    token_key: TokenKey,
}

impl SqliteStore {
    /// Opens the database in `file`, or makes it, with its folder; brings its tables up to date.
    ///
    /// # Errors
    ///
    /// The file cannot be read and written, is no database, or is from a later version of this
    /// program; or its contents are under a key that is not in `keys`.
    pub async fn open(file: &Path, keys: Keyring) -> Result<Self, OpenError> {
        let (file, keys) = (file.to_owned(), Arc::new(keys));
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(file, keys)).await;
        opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    fn open_blocking(file: PathBuf, keys: Arc<Keyring>) -> Result<Self, OpenError> {
        let mut db = connection::create(&file)?;
        let token_key = changes::token_key(&mut db, &keys)
            .map_err(|source| OpenError::Contents { database: file_name(&file), source })?;
        let readers = Readers::new(file.clone());
        Ok(Self { writer: Writer::start(file, db), readers, keys, token_key })
    }

    async fn read_entries(
        &self,
        user: UserLabel,
        query: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<Vec<super::rows::EntryRow>> + Send + 'static,
    ) -> Result<Vec<Entry>, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.readers
            .read(move |db| {
                let rows = query(db)?;
                queries::opened(db, &keys, user, rows)
            })
            .await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn create_session(&self, session: NewSession) -> Result<SessionRecord, StoreError> {
        let token = self.token_key.hash(&session.token);
        self.writer.change(move |db| changes::create_session(db, session, token)).await
    }

    async fn session_by_token(&self, token: &ResumeToken) -> Result<Option<SessionRecord>, StoreError> {
        let token = self.token_key.hash(token);
        let found = self.readers.read(move |db| Ok(queries::session_by_token(db, token).optional()?)).await?;
        found.filter(|(_, stored)| token.matches(stored)).map(|(row, _)| row.read()).transpose()
    }

    async fn append(&self, user: UserLabel, _after: u64, entry: NewEntry) -> Result<Appended, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.writer.change(move |db| changes::append(db, &keys, user, entry)).await
    }

    async fn entries_of(&self, user: UserLabel, id: &MessageId) -> Result<Vec<Entry>, StoreError> {
        let id = id.clone();
        self.read_entries(user, move |db| queries::entries_of(db, user, &id)).await
    }

    async fn entries(&self, user: UserLabel, page: Page) -> Result<Vec<Entry>, StoreError> {
        self.read_entries(user, move |db| queries::entries(db, user, page)).await
    }

    async fn recent(&self, user: UserLabel, limit: usize) -> Result<Recent, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.readers.read(move |db| summaries::recent(db, &keys, user, limit)).await
    }

    async fn put_summary(&self, user: UserLabel, summary: Summary) -> Result<bool, StoreError> {
        let keys = Arc::clone(&self.keys);
        self.writer.change(move |db| summaries::put(db, &keys, user, &summary)).await
    }

    async fn set_locale(&self, user: UserLabel, locale: Locale) -> Result<(), StoreError> {
        self.writer.change(move |db| changes::set_locale(db, user, locale)).await
    }

    async fn touch(&self, users: &[UserLabel], now: Timestamp) -> Result<(), StoreError> {
        let users: Vec<i64> = users.iter().map(|user| column(user.0)).collect();
        self.writer.change(move |db| changes::touch(db, &users, now)).await
    }

    async fn erase(&self, user: UserLabel) -> Result<u64, StoreError> {
        self.writer.removal(move |db| changes::erase(db, user)).await
    }

    async fn sweep(&self, cutoffs: Cutoffs, limit: usize) -> Result<usize, StoreError> {
        self.writer.removal(move |db| changes::sweep(db, cutoffs, limit)).await
    }

    async fn reseal(&self, after: Option<Place>, limit: usize) -> Result<Option<Place>, StoreError> {
        let (keys, token_key) = (Arc::clone(&self.keys), self.token_key.clone());
        self.writer.removal(move |db| changes::reseal(db, &keys, &token_key, after, limit)).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.readers.read(|db| Ok(db.query_row("SELECT 1", [], |_| Ok(()))?)).await
    }
}

#[cfg(test)]
mod tests;
