//! Interface that every store implements.

use async_trait::async_trait;
use protocol::server_frame::{Entry, Forgotten, Role};
use protocol::{Country, LinkCode, Locale, MessageId, ResumeToken, Timestamp, UserLabel};

use super::error::StoreError;
use super::metrics::{DatabaseMeter, PoolUse};
use super::model::{
    Appended, Cutoffs, EntryPosition, Forget, NewEntry, NewLink, NewSession, Page, ReadableEntries, Recent,
    ReferralBatch, ReferralCount, SessionRecord, Summary,
};

/// Entries of a page in which the last message is looked for.
const LAST_MESSAGE_ENTRIES: usize = 32;

/// Durable storage of sessions and entries.
///
/// # Errors
///
/// Every call may fail with [`StoreError::Unavailable`]: its effect may then be stored or not. Every
/// call but [`Store::take_link`] is idempotent, so a retry is safe.
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

    /// Returns the record of a session; `None` if it does not exist.
    async fn session(&self, user: UserLabel) -> Result<Option<SessionRecord>, StoreError>;

    /// Replaces the resume token, unless `token` is the stored one, and removes the session's code for another device.
    /// Returns the number of replacements so far.
    async fn rotate_token(&self, user: UserLabel, token: ResumeToken) -> Result<u64, StoreError>;

    /// Stores a code for another device in place of an earlier one.
    async fn put_link(&self, user: UserLabel, link: NewLink) -> Result<(), StoreError>;

    /// Removes a code that is valid at `now`, and returns its resume token; `None` if there is none. Of concurrent calls
    /// one gets the token. The only call that a retry does not repeat: the code is used up.
    async fn take_link(&self, code: &LinkCode, now: Timestamp) -> Result<Option<ResumeToken>, StoreError>;

    /// Appends an entry, unless one with its id and role exists, or its message was forgotten. `after` is the highest `seq` known to the
    /// caller: a hint that saves a round trip if it is right.
    async fn append(&self, user: UserLabel, after: u64, entry: NewEntry) -> Result<Appended, StoreError>;

    /// Returns the last message that can be read; `None` without any.
    async fn last_message(&self, user: UserLabel) -> Result<Option<MessageId>, StoreError> {
        let mut seq = u64::MAX;
        loop {
            let page = self.readable_entries(user, Page::Before { seq, limit: LAST_MESSAGE_ENTRIES }).await?;
            let found = page.entries.iter().rev().find(|entry| entry.role == Role::User);
            match page.first_seq() {
                Some(first) if found.is_none() && LAST_MESSAGE_ENTRIES <= page.rows() => seq = first,
                _ => return Ok(found.map(|entry| entry.id.clone())),
            }
        }
    }

    /// Removes a message with its help and its answer, and a summary that drew on it. Later appends with its id store
    /// nothing. Returns the number of removed entries, 0 for a retry; `None` if there is no such message.
    async fn forget(&self, user: UserLabel, forget: Forget) -> Result<Option<(Forgotten, u64)>, StoreError>;

    /// Returns the message with this id, its help and its answer, oldest first.
    async fn entries_of(&self, user: UserLabel, id: &MessageId) -> Result<Vec<Entry>, StoreError>;

    /// Returns a page of entries; an unreadable one is an error.
    async fn entries(&self, user: UserLabel, page: Page) -> Result<Vec<Entry>, StoreError>;

    /// Returns a page without its unreadable entries, and logs one line if there are any.
    async fn readable_entries(&self, user: UserLabel, page: Page) -> Result<ReadableEntries, StoreError> {
        Ok(ReadableEntries { entries: self.entries(user, page).await?, ..ReadableEntries::default() })
    }

    /// Returns the last `limit` readable entries and the summary, in one round trip. Unreadable ones are
    /// logged and replaced by older entries.
    async fn recent(&self, user: UserLabel, limit: usize) -> Result<Recent, StoreError>;

    /// Stores `summary` in place of an earlier one; returns whether it did. It does not if the stored one
    /// reaches as far or further, if its first or last message does not exist (any more), or if the session is
    /// being erased.
    async fn put_summary(&self, user: UserLabel, summary: Summary) -> Result<bool, StoreError>;

    /// Removes the summary. No later one draws on the entries so far.
    async fn forget_summary(&self, user: UserLabel) -> Result<(), StoreError>;

    /// Sets the language of answers.
    async fn set_locale(&self, user: UserLabel, locale: Locale) -> Result<(), StoreError>;

    /// Sets the country of the person.
    async fn set_country(&self, user: UserLabel, country: Country) -> Result<(), StoreError>;

    /// Marks sessions as in use at `now`; skips those that do not exist.
    async fn touch(&self, users: &[UserLabel], now: Timestamp) -> Result<(), StoreError>;

    /// Removes a session with its token, entries and summary; returns the number of entries.
    async fn erase(&self, user: UserLabel) -> Result<u64, StoreError>;

    /// Removes rows older than `cutoffs`, about `limit` at most; returns their number. Fewer than `limit`
    /// means that none is left. A summary is removed, uncounted, with its first message, and a code for another device once it has expired.
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
