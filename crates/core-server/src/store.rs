//! What outlives a connection: sessions and their entries.
//!
//! Everything here is durable once the call returns. [`SqliteStore`] is the default,
//! [`PostgresStore`] serves several cores, [`MemoryStore`] keeps everything in the process,
//! which is durable as long as the process is. All pass the same contract (`tests/it/store`).
//! The only code with SQL.

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

/// Where conversations are kept, and how.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// The database.
    pub url: DatabaseUrl,
    /// Connections to a PostgreSQL server at most.
    pub max_connections: usize,
    /// Keys for texts at rest.
    pub keys: Keyring,
}

/// Opens the database of `settings` and brings its tables up to date.
///
/// # Errors
///
/// It cannot be used as it is; the message says why. Nothing was lost.
pub async fn open(settings: DatabaseSettings) -> Result<Arc<dyn Store>, OpenError> {
    match settings.url {
        DatabaseUrl::Sqlite(file) => Ok(Arc::new(SqliteStore::open(&file, settings.keys).await?)),
        DatabaseUrl::Postgres(url) => {
            Ok(Arc::new(PostgresStore::open(&url, settings.max_connections, settings.keys).await?))
        }
    }
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
    /// Where the person is, chosen or confirmed by them.
    pub country: Option<Country>,
    /// Highest `seq` of its entries; 0 when there is none.
    pub seq: u64,
    /// How many of its entries the person wrote.
    pub messages: u64,
    /// Up to which `seq` entries were swept because their time was over; 0: none was.
    pub pruned: u64,
}

/// A session to be created.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its public id.
    pub id: SessionId,
    /// The token that resumes it; only a keyed hash of it is stored.
    pub token: ResumeToken,
    /// The language to answer in.
    pub locale: Locale,
    /// Where the person is, chosen or confirmed by them.
    pub country: Option<Country>,
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
    /// Help that was shown. Its resources are not stored: they are chosen again whenever it is shown, so
    /// that an old conversation has no line that does not answer any more.
    pub help: Option<Box<Help>>,
}

impl NewEntry {
    /// The entry that is stored as `seq`.
    fn numbered(self, seq: u64) -> Entry {
        let Self { id, role, text, at, finish, source, help } = self;
        let help = help.map(|help| Box::new(Help { resources: Vec::new(), ..*help }));
        Entry { seq, id, role, text, at, finish, source, help }
    }
}

/// The gist of a session's older messages and their answers, made by the model. It is not an
/// entry: only the model gets to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// `seq` of the first message that it draws on.
    pub first: u64,
    /// `seq` of the last one: it draws on all between them.
    pub last: u64,
    /// What it says.
    pub text: UserText,
}

/// The end of a session, and what there is of its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// The summary of what came earlier, if there is one.
    pub summary: Option<Summary>,
    /// The last entries, oldest first.
    pub entries: Vec<Entry>,
}

/// What became of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// Stored now.
    New(Entry),
    /// An entry with this id and role was stored before, as `seq`; nothing was changed.
    Existing {
        /// Where it is.
        seq: u64,
    },
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

/// A page of entries that leaves out those that do not open: damaged, or under a key that is not
/// configured. One such row must not keep a person from all the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadableEntries {
    /// Those that open, oldest first.
    pub entries: Vec<Entry>,
    /// `seq`s of those that do not, rising.
    pub unreadable: Vec<u64>,
}

impl ReadableEntries {
    /// Rows of the page, with those that do not open.
    pub fn rows(&self) -> usize {
        self.entries.len() + self.unreadable.len()
    }

    /// Lowest `seq` of the page.
    pub fn first_seq(&self) -> Option<u64> {
        let (entry, unreadable) = (self.entries.first().map(|entry| entry.seq), self.unreadable.first().copied());
        entry.into_iter().chain(unreadable).min()
    }

    /// Highest `seq` of the page.
    pub fn last_seq(&self) -> Option<u64> {
        let (entry, unreadable) = (self.entries.last().map(|entry| entry.seq), self.unreadable.last().copied());
        entry.into_iter().chain(unreadable).max()
    }

    /// Older entries to read in place of those that do not open, of a page that is the last `limit`.
    fn replacements(&self, limit: usize) -> Option<Page> {
        let seq = self.first_seq().filter(|_| limit <= self.rows() && !self.unreadable.is_empty())?;
        Some(Page::Before { seq, limit: self.unreadable.len() })
    }
}

/// What is old enough to be swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoffs {
    /// Sessions in which nothing was ever said and that nobody used since.
    pub empty_before: Timestamp,
    /// Entries from before, and sessions that nobody used since; `None` keeps them.
    pub entries_before: Option<Timestamp>,
    /// Sessions that nobody used since go with all their entries; `None` keeps them.
    pub inactive_before: Option<Timestamp>,
}

/// How often help was shown in a month. Says nothing of anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReferralCount {
    /// The month in UTC, as `2026-12`.
    pub month: String,
    /// The most urgent kind of risk.
    pub kind: String,
    /// The level.
    pub level: String,
    /// The language it was shown in.
    pub language: String,
    /// How often.
    pub count: u64,
}

/// Counts to be added, once however often they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferralBatch {
    /// The process that counted.
    pub source: u64,
    /// Rises with every batch of that process.
    pub number: u64,
    /// What it counted.
    pub counts: Vec<ReferralCount>,
}

impl ReferralBatch {
    /// The latest of its months, by which it is known when its number may be forgotten.
    fn latest_month(&self) -> &str {
        self.counts.iter().map(|count| count.month.as_str()).max().unwrap_or_default()
    }
}

/// Where an entry is in the whole database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryPosition {
    /// Whose session.
    pub user: UserLabel,
    /// Which entry of it.
    pub seq: u64,
}

/// Durable sessions and entries.
///
/// # Errors
///
/// Every call may fail with [`StoreError::Unavailable`]: then it may or may not have
/// happened. Every call may be repeated without doing anything twice.
///
/// # Cancel safety
///
/// A call that is dropped may or may not have happened, as after a crash.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Creates a session and gives its person the next free label. Labels rise, and are never
    /// given twice.
    async fn create_session(&self, session: NewSession) -> Result<SessionRecord, StoreError>;

    /// The session that `token` continues, if it exists.
    async fn session_by_token(&self, token: &ResumeToken) -> Result<Option<SessionRecord>, StoreError>;

    /// Appends an entry as the session's next, unless one with its id and role is there. `after`
    /// is the highest `seq` the caller knows of: a hint that saves a round trip where it is right.
    async fn append(&self, user: UserLabel, after: u64, entry: NewEntry) -> Result<Appended, StoreError>;

    /// Every entry with this message id, oldest first: the message and what answered it.
    async fn entries_of(&self, user: UserLabel, id: &MessageId) -> Result<Vec<Entry>, StoreError>;

    /// A page of the session's entries.
    async fn entries(&self, user: UserLabel, page: Page) -> Result<Vec<Entry>, StoreError>;

    /// A page of the session's entries without those that do not open, of which the log has one line.
    async fn readable_entries(&self, user: UserLabel, page: Page) -> Result<ReadableEntries, StoreError> {
        Ok(ReadableEntries { entries: self.entries(user, page).await?, unreadable: Vec::new() })
    }

    /// The last `limit` entries of the session, and its summary: one round trip. What does not open
    /// is left out, with one line in the log, and older entries are there in its place.
    async fn recent(&self, user: UserLabel, limit: usize) -> Result<Recent, StoreError>;

    /// Keeps `summary` in place of an earlier one, and says whether it did. It does not if the one
    /// that is there goes as far or further, if what it draws on is not there (any more), or if the
    /// session is erased at this moment.
    async fn put_summary(&self, user: UserLabel, summary: Summary) -> Result<bool, StoreError>;

    /// Changes the language to answer in.
    async fn set_locale(&self, user: UserLabel, locale: Locale) -> Result<(), StoreError>;

    /// Notes where the person is.
    async fn set_country(&self, user: UserLabel, country: Country) -> Result<(), StoreError>;

    /// Notes that these sessions are in use at `now`. Those that do not exist are passed over.
    async fn touch(&self, users: &[UserLabel], now: Timestamp) -> Result<(), StoreError>;

    /// Removes the session with its token, entries and summary; says how many entries there were.
    async fn erase(&self, user: UserLabel) -> Result<u64, StoreError>;

    /// Removes what is older than `cutoffs`, at most about `limit` rows, and says how many. Less
    /// than `limit`: nothing is left to remove. A summary goes, uncounted, with the first message
    /// that it draws on.
    async fn prune(&self, cutoffs: Cutoffs, limit: usize) -> Result<usize, StoreError>;

    /// Adds the counts of `batch`, unless it was added before.
    async fn count_referrals(&self, batch: ReferralBatch) -> Result<(), StoreError>;

    /// What was counted in `year`, by month, kind, level and language.
    async fn referrals(&self, year: u16) -> Result<Vec<ReferralCount>, StoreError>;

    /// Writes up to `limit` entries after `after`, and the summaries of their sessions, the way new
    /// ones are written: under the current key, or plain if there is none. Says where it came to;
    /// `None` at the end, when everything else that is under a key has been rewritten too. What is
    /// damaged stays as it is, with a line in the log: no key opens it.
    async fn reencrypt(&self, after: Option<EntryPosition>, limit: usize) -> Result<Option<EntryPosition>, StoreError>;

    /// Writes up to `limit` entries after `after` anew that an earlier version wrote, with their role in the
    /// clear. Says where it came to; `None` when there are no more.
    async fn reencrypt_legacy(
        &self,
        after: Option<EntryPosition>,
        limit: usize,
    ) -> Result<Option<EntryPosition>, StoreError>;

    /// How the connections to a server are used, and what is counted of them; `None` without a server.
    fn pool(&self) -> Option<(PoolUse, DatabaseMeter)> {
        None
    }

    /// Whether the database does its work.
    async fn check(&self) -> Result<(), StoreError>;
}
