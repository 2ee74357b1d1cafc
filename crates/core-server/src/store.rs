//! What outlives a connection: sessions and their entries.
//!
//! Everything here is durable once the call returns. `memory` keeps it in the process,
//! which is durable as long as the process is.

mod memory;

use async_trait::async_trait;
use protocol::server_frame::{Entry, Finish, Role, Source};
use protocol::{Locale, MessageId, SessionId, Timestamp, TokenHash, UserLabel, UserText};

pub use memory::MemoryStore;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The session was erased in the meantime.
    #[error("session of {user} does not exist")]
    NoSession {
        /// Whose session.
        user: UserLabel,
    },
}

/// A session as stored. `user` is its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Key and label of the session.
    pub user: UserLabel,
    /// Its public id.
    pub id: SessionId,
    /// When it began.
    pub created_at: Timestamp,
    /// The language to answer in.
    pub locale: Locale,
    /// Highest `seq` of its entries; 0 when there is none.
    pub seq: u64,
    /// How many of its entries the person wrote.
    pub messages: u64,
}

/// A session to be created.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its public id.
    pub id: SessionId,
    /// Hash of the token that resumes it.
    pub token: TokenHash,
    /// The language to answer in.
    pub locale: Locale,
    /// When it begins.
    pub created_at: Timestamp,
}

/// An entry to be appended; the store gives it its `seq`.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The message it is or belongs to.
    pub id: MessageId,
    /// Who speaks.
    pub role: Role,
    /// What was said.
    pub text: UserText,
    /// When.
    pub at: Timestamp,
    /// How an answer ended.
    pub finish: Option<Finish>,
    /// Where an answer came from.
    pub source: Option<Source>,
}

/// What became of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// Stored now.
    New(Entry),
    /// A message with this id was stored before; nothing was changed.
    Known,
}

/// Which entries of a session, always given oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The first `limit` with `seq` greater than `seq`.
    After {
        /// The last one not wanted.
        seq: u64,
        /// At most so many.
        limit: usize,
    },
    /// The last `limit` with `seq` less than `seq`.
    Before {
        /// The first one not wanted.
        seq: u64,
        /// At most so many.
        limit: usize,
    },
}

/// Durable sessions and entries.
///
/// # Cancel safety
///
/// A call that is dropped may or may not have happened, as after a crash.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Creates a session and gives its person the next free label.
    async fn create_session(&self, session: NewSession) -> Result<SessionRecord, StoreError>;

    /// The session that `token` continues, if it exists.
    async fn session_by_token(&self, token: TokenHash) -> Result<Option<SessionRecord>, StoreError>;

    /// Appends an entry. A [`Role::User`] entry whose id is already there is not appended.
    async fn append(&self, user: UserLabel, entry: NewEntry) -> Result<Appended, StoreError>;

    /// Every entry with this message id: the message and what answered it.
    async fn entries_of(&self, user: UserLabel, id: &MessageId) -> Result<Vec<Entry>, StoreError>;

    /// A page of the session's entries.
    async fn entries(&self, user: UserLabel, page: Page) -> Result<Vec<Entry>, StoreError>;

    /// Changes the language to answer in.
    async fn set_locale(&self, user: UserLabel, locale: Locale) -> Result<(), StoreError>;

    /// Removes the session with its token and entries; says how many entries there were.
    async fn erase(&self, user: UserLabel) -> Result<u64, StoreError>;
}
