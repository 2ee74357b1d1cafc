//! Records of the store: sessions, entries, summaries, counts of displayed help.

use protocol::server_frame::{Entry, Finish, Forgotten, Help, Role, Source};
use protocol::{Country, LinkCode, Locale, MessageId, ResumeToken, SessionId, Timestamp, UserLabel, UserText};
use serde::Serialize;

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
    /// Number of times that the resume token was replaced.
    pub rotations: u64,
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

/// Code for another device, to be stored.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// The code; only a keyed hash of it is stored.
    pub code: LinkCode,
    /// The session's resume token; it is stored sealed under a key that follows from the code.
    pub token: ResumeToken,
    /// End of its validity.
    pub expires_at: Timestamp,
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
    pub(super) fn numbered(self, seq: u64) -> Entry {
        let Self { id, role, text, at, finish, source, help } = self;
        let help = help.map(|help| Box::new(Help { resources: Vec::new(), ..*help }));
        Entry { seq, id, role, text, at, finish, source, help }
    }
}

/// Model-made summary of a session's older messages and answers. Not an entry: only the model reads it. One without text
/// stands in place of a summary that was forgotten: the next one begins behind it.
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
    /// The message was forgotten; nothing was changed.
    Forgotten(Forgotten),
}

/// A message that was erased with its help and its answer. It keeps a number, so that late writes and resent messages
/// meet it, and other readers learn of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The message.
    pub forgotten: Forgotten,
    /// Time of the erasure.
    pub at: Timestamp,
    /// Risk in force at that time, without resources: the level outlives the message.
    pub help: Option<Box<Help>>,
}

/// Message to be forgotten.
#[derive(Debug, Clone)]
pub struct Forget {
    /// The message.
    pub id: MessageId,
    /// Time.
    pub at: Timestamp,
    /// Risk in force, without resources.
    pub help: Option<Box<Help>>,
}

/// Row of a page.
#[derive(Debug)]
pub(super) enum Row {
    Entry(Entry),
    Tombstone(Tombstone),
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
    /// Forgotten messages, oldest first.
    pub tombstones: Vec<Tombstone>,
}

impl ReadableEntries {
    /// Number of rows of the page, readable or not.
    pub fn rows(&self) -> usize {
        self.entries.len() + self.unreadable.len() + self.tombstones.len()
    }

    /// Returns true if every row is an entry.
    pub(super) fn is_whole(&self) -> bool {
        self.unreadable.is_empty() && self.tombstones.is_empty()
    }

    /// Lowest `seq` of the page, readable or not.
    pub fn first_seq(&self) -> Option<u64> {
        let (entry, unreadable) = (self.entries.first().map(|entry| entry.seq), self.unreadable.first().copied());
        let tombstone = self.tombstones.first().map(|tombstone| tombstone.forgotten.seq);
        entry.into_iter().chain(unreadable).chain(tombstone).min()
    }

    /// Highest `seq` of the page, readable or not.
    pub fn last_seq(&self) -> Option<u64> {
        let (entry, unreadable) = (self.entries.last().map(|entry| entry.seq), self.unreadable.last().copied());
        let tombstone = self.tombstones.last().map(|tombstone| tombstone.forgotten.seq);
        entry.into_iter().chain(unreadable).chain(tombstone).max()
    }

    /// Returns the page of older entries that replaces the unreadable and forgotten ones of the session's last `limit`.
    pub(super) fn replacements(&self, limit: usize) -> Option<Page> {
        let seq = self.first_seq().filter(|_| limit <= self.rows() && !self.is_whole())?;
        Some(Page::Before { seq, limit: self.rows() - self.entries.len() })
    }
}

/// Retention cutoffs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cutoffs {
    /// Removes codes for another device that have expired by then.
    pub now: Timestamp,
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
    pub(super) fn latest_month(&self) -> &str {
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
