//! Persistence of sessions and their entries.
//!
//! A change is durable when its call returns. [`SqliteStore`] is the default, [`PostgresStore`] serves
//! several cores, [`MemoryStore`] lives as long as its process. All pass one contract suite
//! (`tests/it/store`). No other module may contain SQL.

mod content;
mod error;
pub mod keys;
mod memory;
mod metrics;
mod migration;
mod postgres;
mod rekey;
mod rows;
mod run_lock;
mod sqlite;
mod url;

use std::sync::Arc;

use async_trait::async_trait;
use protocol::server_frame::{Entry, Finish, Help, Role, Source};
use protocol::{Country, Locale, MessageId, ResumeToken, SessionId, Timestamp, UserLabel, UserText};
use serde::Serialize;

pub use error::{OpenError, StoreError};
use keys::Keyring;
pub use memory::MemoryStore;
pub use metrics::{DatabaseGauges, DatabaseMeter, DatabaseMetric, PoolUse};
pub use postgres::PostgresStore;
pub use rekey::{rekey, upgrade_legacy_entries};
pub use run_lock::RunLock;
pub use sqlite::SqliteStore;
pub use url::{DatabaseUrl, DatabaseUrlError, PostgresUrl};

/// Database settings.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// Address of the database.
    pub url: DatabaseUrl,
    /// Maximum connections to a PostgreSQL server.
    pub max_connections: usize,
    /// Keys for texts at rest.
    pub keys: Keyring,
}

/// Opens the database of `settings` and migrates its schema.
///
/// # Errors
///
/// The database cannot be used, for a reason that the error gives. No stored data is lost.
pub async fn open(settings: DatabaseSettings) -> Result<Arc<dyn Store>, OpenError> {
    match settings.url {
        DatabaseUrl::Sqlite(file) => Ok(Arc::new(SqliteStore::open(&file, settings.keys).await?)),
        DatabaseUrl::Postgres(url) => {
            Ok(Arc::new(PostgresStore::open(&url, settings.max_connections, settings.keys).await?))
        }
    }
}

/// Stored session. `user` is its primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Label of the person, and primary key.
    pub user: UserLabel,
    /// Public id.
    pub id: SessionId,
    /// Time of creation.
    pub created_at: Timestamp,
    /// Language of answers.
    pub locale: Locale,
    /// Country of the person, chosen or confirmed by them.
    pub country: Option<Country>,
    /// Highest `seq` of the session's entries; 0 without entries.
    pub seq: u64,
    /// Number of entries that the person wrote.
    pub messages: u64,
    /// Highest `seq` removed by retention; 0 if no entry was.
    pub pruned: u64,
}

/// Session to be created.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Public id.
    pub id: SessionId,
    /// Resume token; only a keyed hash of it is stored.
    pub token: ResumeToken,
    /// Language of answers.
    pub locale: Locale,
    /// Country of the person, chosen or confirmed by them.
    pub country: Option<Country>,
    /// Time of creation.
    pub created_at: Timestamp,
}

/// Entry to be appended; the store assigns its `seq`.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// Id of the message, shared by its answer and its help.
    pub id: MessageId,
    /// Author.
    pub role: Role,
    /// Text.
    pub text: UserText,
    /// Time.
    pub at: Timestamp,
    /// Finish reason of an answer.
    pub finish: Option<Finish>,
    /// Origin of an answer.
    pub source: Option<Source>,
    /// Help that was shown. Its resources are not stored but selected again at each display: an old
    /// conversation must not show a help line that is out of service.
    pub help: Option<Box<Help>>,
}

impl NewEntry {
    /// Returns the entry as stored under `seq`.
    fn numbered(self, seq: u64) -> Entry {
        let Self { id, role, text, at, finish, source, help } = self;
        let help = help.map(|help| Box::new(Help { resources: Vec::new(), ..*help }));
        Entry { seq, id, role, text, at, finish, source, help }
    }
}

/// Model-made summary of a session's older messages and answers. Not an entry: only the model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// `seq` of the first summarized message.
    pub first: u64,
    /// `seq` of the last summarized message; everything between the two is included.
    pub last: u64,
    /// Text.
    pub text: UserText,
}

/// Latest entries of a session, with the summary of earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// Summary of earlier messages.
    pub summary: Option<Summary>,
    /// Latest entries, oldest first.
    pub entries: Vec<Entry>,
}

/// Outcome of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// Stored by this call.
    New(Entry),
    /// Idempotent retry: an entry with this id and role exists; nothing was changed.
    Existing {
        /// Its `seq`.
        seq: u64,
    },
}

/// Selects a page of entries. Pages are returned oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The first `limit` entries after `seq`.
    After {
        /// Exclusive lower bound.
        seq: u64,
        /// Maximum number of entries.
        limit: usize,
    },
    /// The last `limit` entries before `seq`.
    Before {
        /// Exclusive upper bound.
        seq: u64,
        /// Maximum number of entries.
        limit: usize,
    },
}

/// Page of entries without the unreadable ones, which are damaged or sealed under a key that is not
/// configured. One such row must not make the whole conversation unreadable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadableEntries {
    /// Readable entries, oldest first.
    pub entries: Vec<Entry>,
    /// `seq`s of the unreadable ones, ascending.
    pub unreadable: Vec<u64>,
}

impl ReadableEntries {
    /// Number of rows of the page, readable or not.
    pub fn rows(&self) -> usize {
        self.entries.len() + self.unreadable.len()
    }

    /// Lowest `seq` of the page, readable or not.
    pub fn first_seq(&self) -> Option<u64> {
        let (entry, unreadable) = (self.entries.first().map(|entry| entry.seq), self.unreadable.first().copied());
        entry.into_iter().chain(unreadable).min()
    }

    /// Highest `seq` of the page, readable or not.
    pub fn last_seq(&self) -> Option<u64> {
        let (entry, unreadable) = (self.entries.last().map(|entry| entry.seq), self.unreadable.last().copied());
        entry.into_iter().chain(unreadable).max()
    }

    /// Returns the page of older entries that replaces the unreadable ones of the session's last `limit`.
    fn replacements(&self, limit: usize) -> Option<Page> {
        let seq = self.first_seq().filter(|_| limit <= self.rows() && !self.unreadable.is_empty())?;
        Some(Page::Before { seq, limit: self.unreadable.len() })
    }
}

/// Retention cutoffs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoffs {
    /// Removes sessions without any entry whose last use is earlier.
    pub empty_before: Timestamp,
    /// Removes earlier entries, and sessions left without entries whose last use is earlier; `None`
    /// keeps them.
    pub entries_before: Option<Timestamp>,
    /// Removes sessions whose last use is earlier, with all their entries; `None` keeps them.
    pub inactive_before: Option<Timestamp>,
}

/// Number of times that help was shown in a month. Anonymous: never linked to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReferralCount {
    /// Month in UTC, as `2026-12`.
    pub month: String,
    /// Most urgent kind of risk.
    pub kind: String,
    /// Level of risk.
    pub level: String,
    /// Language of the help.
    pub language: String,
    /// Number of times.
    pub count: u64,
}

/// Batch of counts, added at most once however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferralBatch {
    /// Random id of the counting process.
    pub source: u64,
    /// Sequence number within the process, ascending.
    pub number: u64,
    /// Counts to add.
    pub counts: Vec<ReferralCount>,
}

impl ReferralBatch {
    /// Latest month of the batch: the stored number of a process expires by it.
    fn latest_month(&self) -> &str {
        self.counts.iter().map(|count| count.month.as_str()).max().unwrap_or_default()
    }
}

/// Position of an entry in the database; also the associated data of its encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryPosition {
    /// Primary key of the session.
    pub user: UserLabel,
    /// Position in the session.
    pub seq: u64,
}

/// Durable storage of sessions and entries.
///
/// # Errors
///
/// Every call may fail with [`StoreError::Unavailable`]: its effect may then be stored or not. Every
/// call is idempotent, so a retry is safe.
///
/// # Cancel safety
///
/// The effect of a dropped call may be stored or not, as after a crash.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Creates a session with the next label. Labels ascend and are never reused.
    async fn create_session(&self, session: NewSession) -> Result<SessionRecord, StoreError>;

    /// Returns the session of a resume token.
    async fn session_by_token(&self, token: &ResumeToken) -> Result<Option<SessionRecord>, StoreError>;

    /// Appends an entry, unless one with its id and role exists. `after` is the highest `seq` known to the
    /// caller: a hint that saves a round trip if it is right.
    async fn append(&self, user: UserLabel, after: u64, entry: NewEntry) -> Result<Appended, StoreError>;

    /// Returns the message with this id, its help and its answer, oldest first.
    async fn entries_of(&self, user: UserLabel, id: &MessageId) -> Result<Vec<Entry>, StoreError>;

    /// Returns a page of entries; an unreadable one is an error.
    async fn entries(&self, user: UserLabel, page: Page) -> Result<Vec<Entry>, StoreError>;

    /// Returns a page without its unreadable entries, and logs one line if there are any.
    async fn readable_entries(&self, user: UserLabel, page: Page) -> Result<ReadableEntries, StoreError> {
        Ok(ReadableEntries { entries: self.entries(user, page).await?, unreadable: Vec::new() })
    }

    /// Returns the last `limit` readable entries and the summary, in one round trip. Unreadable ones are
    /// logged and replaced by older entries.
    async fn recent(&self, user: UserLabel, limit: usize) -> Result<Recent, StoreError>;

    /// Stores `summary` in place of an earlier one; returns whether it did. It does not if the stored one
    /// reaches as far or further, if a summarized message does not exist (any more), or if the session is
    /// being erased.
    async fn put_summary(&self, user: UserLabel, summary: Summary) -> Result<bool, StoreError>;

    /// Sets the language of answers.
    async fn set_locale(&self, user: UserLabel, locale: Locale) -> Result<(), StoreError>;

    /// Sets the country of the person.
    async fn set_country(&self, user: UserLabel, country: Country) -> Result<(), StoreError>;

    /// Marks sessions as in use at `now`; skips those that do not exist.
    async fn touch(&self, users: &[UserLabel], now: Timestamp) -> Result<(), StoreError>;

    /// Removes a session with its token, entries and summary; returns the number of entries.
    async fn erase(&self, user: UserLabel) -> Result<u64, StoreError>;

    /// Removes rows older than `cutoffs`, about `limit` at most; returns their number. Fewer than `limit`
    /// means that none is left. A summary is removed, uncounted, with its first message.
    async fn prune(&self, cutoffs: Cutoffs, limit: usize) -> Result<usize, StoreError>;

    /// Adds the counts of a batch, unless it was added before.
    async fn count_referrals(&self, batch: ReferralBatch) -> Result<(), StoreError>;

    /// Returns the counts of a year by month, kind, level and language.
    async fn referrals(&self, year: u16) -> Result<Vec<ReferralCount>, StoreError>;

    /// Re-encrypts up to `limit` entries after `after`, and the summaries of their sessions, under the
    /// current key, or decrypts them if there is none. Returns the last position; `None` at the end, once
    /// the token key is rewritten, too. Damaged rows are logged and stay unchanged.
    async fn reencrypt(&self, after: Option<EntryPosition>, limit: usize) -> Result<Option<EntryPosition>, StoreError>;

    /// Re-encrypts up to `limit` entries after `after` that an earlier version stored with their role in
    /// plain. Returns the last position; `None` when none is left.
    async fn reencrypt_legacy(
        &self,
        after: Option<EntryPosition>,
        limit: usize,
    ) -> Result<Option<EntryPosition>, StoreError>;

    /// Returns the state and the metrics of the connection pool; `None` without a server.
    fn pool(&self) -> Option<(PoolUse, DatabaseMeter)> {
        None
    }

    /// Checks that a message could be stored.
    async fn check(&self) -> Result<(), StoreError>;
}
