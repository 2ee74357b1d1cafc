//! In-memory store, for tests.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use protocol::server_frame::{Entry, Role};
use protocol::{Country, Locale, MessageId, ResumeToken, Timestamp, UserLabel};

use super::api::Store;
use super::error::StoreError;
use super::model::{
    Appended, Cutoffs, EntryPosition, NewEntry, NewSession, Page, Recent, ReferralBatch, ReferralCount, SessionRecord,
    Summary,
};

/// Store that lives as long as its process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    /// Last assigned label; labels are never reused.
    last_user: u64,
    tokens: HashMap<[u8; 32], UserLabel>,
    sessions: BTreeMap<UserLabel, Session>,
    referrals: BTreeMap<[String; 4], u64>,
    /// Number of the last batch of each process.
    batches: HashMap<u64, u64>,
}

#[derive(Debug)]
struct Session {
    record: SessionRecord,
    token: [u8; 32],
    last_seen: Timestamp,
    /// Entry `seq` is at index `seq - 1 - record.pruned`.
    entries: Vec<Entry>,
    summary: Option<Summary>,
}

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Poisoning is ignored: no change below can panic half way.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn session(&mut self, user: UserLabel) -> Result<&mut Session, StoreError> {
        self.sessions.get_mut(&user).ok_or(StoreError::NoSession { user })
    }

    fn remove(&mut self, user: UserLabel) -> Result<usize, StoreError> {
        let session = self.sessions.remove(&user).ok_or(StoreError::NoSession { user })?;
        self.tokens.remove(&session.token);
        Ok(session.entries.len())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create_session(&self, session: NewSession) -> Result<SessionRecord, StoreError> {
        let mut tables = self.tables();
        // Idempotent retry.
        if let Some(known) = tables.tokens.get(session.token.as_bytes()).and_then(|user| tables.sessions.get(user)) {
            return Ok(known.record.clone());
        }
        tables.last_user += 1;
        let user = UserLabel(tables.last_user);
        let NewSession { id, token, locale, country, created_at } = session;
        let token = *token.as_bytes();
        let record = SessionRecord { user, id, created_at, locale, country, seq: 0, messages: 0, pruned: 0 };
        let session =
            Session { record: record.clone(), token, last_seen: created_at, entries: Vec::new(), summary: None };
        tables.tokens.insert(token, user);
        tables.sessions.insert(user, session);
        Ok(record)
    }

    async fn session_by_token(&self, token: &ResumeToken) -> Result<Option<SessionRecord>, StoreError> {
        let tables = self.tables();
        let user = tables.tokens.get(token.as_bytes());
        Ok(user.and_then(|user| tables.sessions.get(user)).map(|session| session.record.clone()))
    }

    async fn append(&self, user: UserLabel, _after: u64, entry: NewEntry) -> Result<Appended, StoreError> {
        let mut tables = self.tables();
        let session = tables.session(user)?;
        let (role, at) = (entry.role, entry.at);
        if let Some(known) = session.entries.iter().find(|known| known.role == role && known.id == entry.id) {
            return Ok(Appended::Existing { seq: known.seq });
        }
        session.record.messages += u64::from(role == Role::User);
        session.record.seq += 1;
        session.last_seen = at;
        let entry = entry.numbered(session.record.seq);
        session.entries.push(entry.clone());
        Ok(Appended::New(entry))
    }

    async fn entries_of(&self, user: UserLabel, id: &MessageId) -> Result<Vec<Entry>, StoreError> {
        let mut tables = self.tables();
        let entries = &tables.session(user)?.entries;
        Ok(entries.iter().filter(|entry| entry.id == *id).cloned().collect())
    }

    async fn entries(&self, user: UserLabel, page: Page) -> Result<Vec<Entry>, StoreError> {
        let mut tables = self.tables();
        let entries = &tables.session(user)?.entries;
        let (from, to) = match page {
            Page::After { seq, limit } => {
                let from = entries.partition_point(|entry| entry.seq <= seq);
                (from, from.saturating_add(limit).min(entries.len()))
            }
            Page::Before { seq, limit } => {
                let to = entries.partition_point(|entry| entry.seq < seq);
                (to.saturating_sub(limit), to)
            }
        };
        Ok(entries[from..to].to_vec())
    }

    async fn recent(&self, user: UserLabel, limit: usize) -> Result<Recent, StoreError> {
        let mut tables = self.tables();
        let session = tables.session(user)?;
        let from = session.entries.len().saturating_sub(limit);
        Ok(Recent { summary: session.summary.clone(), entries: session.entries[from..].to_vec() })
    }

    async fn put_summary(&self, user: UserLabel, summary: Summary) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let session = tables.session(user)?;
        let there = session.record.pruned < summary.first && summary.last <= session.record.seq;
        let further = session.summary.as_ref().is_none_or(|known| known.last < summary.last);
        if there && further {
            session.summary = Some(summary);
        }
        Ok(there && further)
    }

    async fn set_locale(&self, user: UserLabel, locale: Locale) -> Result<(), StoreError> {
        self.tables().session(user)?.record.locale = locale;
        Ok(())
    }

    async fn set_country(&self, user: UserLabel, country: Country) -> Result<(), StoreError> {
        self.tables().session(user)?.record.country = Some(country);
        Ok(())
    }

    async fn touch(&self, users: &[UserLabel], now: Timestamp) -> Result<(), StoreError> {
        let mut tables = self.tables();
        for user in users {
            if let Some(session) = tables.sessions.get_mut(user) {
                session.last_seen = now;
            }
        }
        Ok(())
    }

    async fn erase(&self, user: UserLabel) -> Result<u64, StoreError> {
        Ok(self.tables().remove(user)? as u64)
    }

    async fn prune(&self, cutoffs: Cutoffs, limit: usize) -> Result<usize, StoreError> {
        let mut tables = self.tables();
        let unused = |session: &Session| {
            let empty = session.record.seq == 0 && session.last_seen < cutoffs.empty_before;
            let since = cutoffs.entries_before.max(cutoffs.inactive_before);
            empty || since.is_some_and(|since| session.last_seen < since)
        };
        let unused: Vec<_> =
            tables.sessions.iter().filter(|(_, session)| unused(session)).map(|(user, _)| *user).collect();
        let mut removed = 0;
        for user in unused.into_iter().take(limit) {
            removed += 1 + tables.remove(user)?;
        }
        if let Some(kept) = cutoffs.entries_before {
            for session in tables.sessions.values_mut() {
                let old = session.entries.partition_point(|entry| entry.at < kept).min(limit.saturating_sub(removed));
                session.record.pruned += old as u64;
                let gone = session.record.pruned;
                session.summary.take_if(|summary| summary.first <= gone);
                session.entries.drain(..old);
                removed += old;
            }
        }
        Ok(removed)
    }

    async fn reencrypt_legacy(
        &self,
        _after: Option<EntryPosition>,
        _limit: usize,
    ) -> Result<Option<EntryPosition>, StoreError> {
        Ok(None)
    }

    async fn count_referrals(&self, batch: ReferralBatch) -> Result<(), StoreError> {
        let mut tables = self.tables();
        if tables.batches.get(&batch.source).is_some_and(|last| batch.number <= *last) {
            return Ok(());
        }
        tables.batches.insert(batch.source, batch.number);
        for ReferralCount { month, kind, level, language, count } in batch.counts {
            *tables.referrals.entry([month, kind, level, language]).or_default() += count;
        }
        Ok(())
    }

    async fn referrals(&self, year: u16) -> Result<Vec<ReferralCount>, StoreError> {
        let of_year = format!("{year:04}-");
        let count = |([month, kind, level, language], count): (&[String; 4], &u64)| ReferralCount {
            month: month.clone(),
            kind: kind.clone(),
            level: level.clone(),
            language: language.clone(),
            count: *count,
        };
        let tables = self.tables();
        Ok(tables.referrals.iter().filter(|([month, ..], _)| month.starts_with(&of_year)).map(count).collect())
    }

    async fn reencrypt(
        &self,
        _after: Option<EntryPosition>,
        _limit: usize,
    ) -> Result<Option<EntryPosition>, StoreError> {
        Ok(None)
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
