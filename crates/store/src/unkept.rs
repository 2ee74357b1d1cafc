//! Sessions that are not kept, in memory beside a store.

use std::sync::Arc;

use async_trait::async_trait;
use protocol::server_frame::{Entry, Forgotten};
use protocol::{Country, LinkCode, Locale, MessageId, ResumeToken, Timestamp, UserLabel};

use super::api::Store;
use super::error::StoreError;
use super::memory::MemoryStore;
use super::metrics::{DatabaseMeter, PoolUse};
use super::model::{
    Appended, Cutoffs, EntryPosition, Forget, NewEntry, NewLink, NewSession, Page, ReadableEntries, Recent,
    ReferralBatch, ReferralCount, SessionRecord, Summary,
};

/// A store, and the sessions of this process that are not kept. Their labels tell them apart
/// ([`UserLabel::is_kept`]). Counts, retention and keys concern the store alone.
#[derive(Debug)]
pub struct WithUnkept {
    kept: Arc<dyn Store>,
    unkept: Arc<MemoryStore>,
}

impl WithUnkept {
    /// Joins `kept` and `unkept`, which is [`MemoryStore::unkept`].
    pub fn new(kept: Arc<dyn Store>, unkept: Arc<MemoryStore>) -> Self {
        Self { kept, unkept }
    }

    fn of(&self, user: UserLabel) -> &dyn Store {
        if user.is_kept() { &*self.kept } else { &*self.unkept }
    }
}

#[async_trait]
impl Store for WithUnkept {
    async fn create_session(&self, session: NewSession) -> Result<SessionRecord, StoreError> {
        self.kept.create_session(session).await
    }

    async fn session_by_token(&self, token: &ResumeToken) -> Result<Option<SessionRecord>, StoreError> {
        match self.unkept.session_by_token(token).await? {
            Some(record) => Ok(Some(record)),
            None => self.kept.session_by_token(token).await,
        }
    }

    async fn session(&self, user: UserLabel) -> Result<Option<SessionRecord>, StoreError> {
        self.of(user).session(user).await
    }

    async fn rotate_token(&self, user: UserLabel, token: ResumeToken) -> Result<u64, StoreError> {
        self.of(user).rotate_token(user, token).await
    }

    async fn put_link(&self, user: UserLabel, link: NewLink) -> Result<(), StoreError> {
        self.of(user).put_link(user, link).await
    }

    async fn take_link(&self, code: &LinkCode, now: Timestamp) -> Result<Option<ResumeToken>, StoreError> {
        match self.unkept.take_link(code, now).await? {
            Some(token) => Ok(Some(token)),
            None => self.kept.take_link(code, now).await,
        }
    }

    async fn append(&self, user: UserLabel, after: u64, entry: NewEntry) -> Result<Appended, StoreError> {
        self.of(user).append(user, after, entry).await
    }

    async fn forget(&self, user: UserLabel, forget: Forget) -> Result<Option<(Forgotten, u64)>, StoreError> {
        self.of(user).forget(user, forget).await
    }

    async fn entries_of(&self, user: UserLabel, id: &MessageId) -> Result<Vec<Entry>, StoreError> {
        self.of(user).entries_of(user, id).await
    }

    async fn entries(&self, user: UserLabel, page: Page) -> Result<Vec<Entry>, StoreError> {
        self.of(user).entries(user, page).await
    }

    async fn readable_entries(&self, user: UserLabel, page: Page) -> Result<ReadableEntries, StoreError> {
        self.of(user).readable_entries(user, page).await
    }

    async fn recent(&self, user: UserLabel, limit: usize) -> Result<Recent, StoreError> {
        self.of(user).recent(user, limit).await
    }

    async fn put_summary(&self, user: UserLabel, summary: Summary) -> Result<bool, StoreError> {
        self.of(user).put_summary(user, summary).await
    }

    async fn forget_summary(&self, user: UserLabel) -> Result<(), StoreError> {
        self.of(user).forget_summary(user).await
    }

    async fn set_locale(&self, user: UserLabel, locale: Locale) -> Result<(), StoreError> {
        self.of(user).set_locale(user, locale).await
    }

    async fn set_country(&self, user: UserLabel, country: Country) -> Result<(), StoreError> {
        self.of(user).set_country(user, country).await
    }

    async fn touch(&self, users: &[UserLabel], now: Timestamp) -> Result<(), StoreError> {
        let kept: Vec<UserLabel> = users.iter().copied().filter(|user| user.is_kept()).collect();
        if kept.is_empty() { Ok(()) } else { self.kept.touch(&kept, now).await }
    }

    async fn erase(&self, user: UserLabel) -> Result<u64, StoreError> {
        self.of(user).erase(user).await
    }

    async fn prune(&self, cutoffs: Cutoffs, limit: usize) -> Result<usize, StoreError> {
        self.kept.prune(cutoffs, limit).await
    }

    async fn count_referrals(&self, batch: ReferralBatch) -> Result<(), StoreError> {
        self.kept.count_referrals(batch).await
    }

    async fn referrals(&self, year: u16) -> Result<Vec<ReferralCount>, StoreError> {
        self.kept.referrals(year).await
    }

    async fn reencrypt(&self, after: Option<EntryPosition>, limit: usize) -> Result<Option<EntryPosition>, StoreError> {
        self.kept.reencrypt(after, limit).await
    }

    async fn reencrypt_legacy(
        &self,
        after: Option<EntryPosition>,
        limit: usize,
    ) -> Result<Option<EntryPosition>, StoreError> {
        self.kept.reencrypt_legacy(after, limit).await
    }

    fn pool(&self) -> Option<(PoolUse, DatabaseMeter)> {
        self.kept.pool()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.kept.check().await
    }
}
