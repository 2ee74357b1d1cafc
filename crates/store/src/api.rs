//! Interface that every store implements.

use async_trait::async_trait;
use protocol::server_frame::Entry;
use protocol::{Country, Locale, MessageId, ResumeToken, Timestamp, UserLabel};

use super::error::StoreError;
use super::metrics::{DatabaseMeter, PoolUse};
use super::model::{
    Appended, Cutoffs, EntryPosition, NewEntry, NewSession, Page, ReadableEntries, Recent, ReferralBatch,
    ReferralCount, SessionRecord, Summary,
};

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
