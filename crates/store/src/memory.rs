//! In-memory store, for sessions that are not kept and for tests.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use protocol::server_frame::{Entry, Forgotten, Role};
use protocol::{Country, LinkCode, Locale, MessageId, ResumeToken, Timestamp, UserLabel, UserText};

use super::api::Store;
use super::error::StoreError;
use super::model::{
    Appended, Cutoffs, EntryPosition, Forget, NewEntry, NewLink, NewSession, Page, ReadableEntries, Recent,
    ReferralBatch, ReferralCount, SessionRecord, Summary, Tombstone,
};

/// Entries that a session that is not kept has at most: the oldest give way. Some hours of conversation, in half a
/// megabyte of usual texts.
const MAX_UNKEPT_ENTRIES: usize = 500;

/// Store that lives as long as its process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
    /// Entries of a session at most; `None`: any number.
    max_entries: Option<usize>,
}

#[derive(Debug, Default)]
struct Tables {
    /// Last assigned label; labels are never reused.
    last_user: u64,
    tokens: HashMap<[u8; 32], UserLabel>,
    sessions: BTreeMap<UserLabel, Session>,
    links: BTreeMap<UserLabel, NewLink>,
    referrals: BTreeMap<[String; 4], u64>,
    /// Number of the last batch of each process.
    batches: HashMap<u64, u64>,
}

#[derive(Debug)]
struct Session {
    record: SessionRecord,
    token: [u8; 32],
    last_seen: Timestamp,
    /// Ascending by `seq`.
    entries: Vec<Entry>,
    /// Ascending by `seq`.
    tombstones: Vec<Tombstone>,
    summary: Option<Summary>,
}

impl MemoryStore {
    /// Creates the store of sessions that are not kept: bounded, with labels that no database gives. Their numbers begin
    /// at random, so that they differ from those of other processes.
    pub fn unkept() -> Self {
        let last_user = UserLabel::FIRST_UNKEPT.0 + (rand::random::<u64>() >> 16);
        let tables = Tables { last_user, ..Tables::default() };
        Self { tables: Mutex::new(tables), max_entries: Some(MAX_UNKEPT_ENTRIES) }
    }

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
        self.links.remove(&user);
        Ok(session.entries.len())
    }
}

/// Returns the indices of a page in `rows`, which ascend by `seq`.
fn range<T>(page: Page, rows: &[T], seq_of: impl Fn(&T) -> u64) -> Range<usize> {
    match page {
        Page::After { seq, limit } => {
            let from = rows.partition_point(|row| seq_of(row) <= seq);
            from..from.saturating_add(limit).min(rows.len())
        }
        Page::Before { seq, limit } => {
            let to = rows.partition_point(|row| seq_of(row) < seq);
            to.saturating_sub(limit)..to
        }
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
        let record =
            SessionRecord { user, id, created_at, locale, country, seq: 0, messages: 0, pruned: 0, rotations: 0 };
        let session = Session {
            record: record.clone(),
            token,
            last_seen: created_at,
            entries: Vec::new(),
            tombstones: Vec::new(),
            summary: None,
        };
        tables.tokens.insert(token, user);
        tables.sessions.insert(user, session);
        Ok(record)
    }

    async fn session_by_token(&self, token: &ResumeToken) -> Result<Option<SessionRecord>, StoreError> {
        let tables = self.tables();
        let user = tables.tokens.get(token.as_bytes());
        Ok(user.and_then(|user| tables.sessions.get(user)).map(|session| session.record.clone()))
    }

    async fn session(&self, user: UserLabel) -> Result<Option<SessionRecord>, StoreError> {
        Ok(self.tables().sessions.get(&user).map(|session| session.record.clone()))
    }

    async fn rotate_token(&self, user: UserLabel, token: ResumeToken) -> Result<u64, StoreError> {
        let mut tables = self.tables();
        let session = tables.session(user)?;
        let before = std::mem::replace(&mut session.token, *token.as_bytes());
        session.record.rotations += u64::from(before != session.token);
        let rotations = session.record.rotations;
        tables.tokens.remove(&before);
        tables.tokens.insert(*token.as_bytes(), user);
        tables.links.remove(&user);
        Ok(rotations)
    }

    async fn put_link(&self, user: UserLabel, link: NewLink) -> Result<(), StoreError> {
        let mut tables = self.tables();
        tables.session(user)?;
        tables.links.insert(user, link);
        Ok(())
    }

    async fn take_link(&self, code: &LinkCode, now: Timestamp) -> Result<Option<ResumeToken>, StoreError> {
        let mut tables = self.tables();
        let is_valid = |link: &NewLink| link.code == *code && now < link.expires_at;
        let user = tables.links.iter().find(|(_, link)| is_valid(link)).map(|(user, _)| *user);
        Ok(user.and_then(|user| tables.links.remove(&user)).map(|link| link.token))
    }

    async fn append(&self, user: UserLabel, _after: u64, entry: NewEntry) -> Result<Appended, StoreError> {
        let mut tables = self.tables();
        let session = tables.session(user)?;
        let (role, at) = (entry.role, entry.at);
        if let Some(tombstone) = session.tombstones.iter().find(|tombstone| tombstone.forgotten.id == entry.id) {
            return Ok(Appended::Forgotten(tombstone.forgotten.clone()));
        }
        if let Some(known) = session.entries.iter().find(|known| known.role == role && known.id == entry.id) {
            return Ok(Appended::Existing { seq: known.seq });
        }
        session.record.messages += u64::from(role == Role::User);
        session.record.seq += 1;
        session.last_seen = at;
        let entry = entry.numbered(session.record.seq);
        session.entries.push(entry.clone());
        if self.max_entries.is_some_and(|most| most < session.entries.len()) {
            session.record.pruned = session.entries.remove(0).seq;
        }
        Ok(Appended::New(entry))
    }

    async fn forget(&self, user: UserLabel, forget: Forget) -> Result<Option<(Forgotten, u64)>, StoreError> {
        let mut tables = self.tables();
        let Session { record, entries, tombstones, summary, .. } = tables.session(user)?;
        let Forget { id, at, help } = forget;
        if let Some(known) = tombstones.iter().find(|tombstone| tombstone.forgotten.id == id) {
            return Ok(Some((known.forgotten.clone(), 0)));
        }
        let Some(from_seq) = entries.iter().find(|entry| entry.id == id).map(|first| first.seq) else {
            return Ok(None);
        };
        let before = entries.len();
        entries.retain(|entry| entry.id != id);
        record.seq += 1;
        let forgotten = Forgotten { seq: record.seq, id, from_seq };
        tombstones.push(Tombstone { forgotten: forgotten.clone(), at, help });
        summary.take_if(|summary| from_seq <= summary.last && !summary.text.is_empty());
        Ok(Some((forgotten, (before - entries.len()) as u64)))
    }

    async fn forget_summary(&self, user: UserLabel) -> Result<(), StoreError> {
        let mut tables = self.tables();
        let session = tables.session(user)?;
        let seq = session.record.seq;
        if session.record.pruned < seq {
            session.summary = Some(Summary { first: seq, last: seq, text: UserText::default() });
        }
        Ok(())
    }

    async fn readable_entries(&self, user: UserLabel, page: Page) -> Result<ReadableEntries, StoreError> {
        let mut tables = self.tables();
        let Session { entries, tombstones, .. } = tables.session(user)?;
        let mut seqs: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
        seqs.extend(tombstones.iter().map(|tombstone| tombstone.forgotten.seq));
        seqs.sort_unstable();
        let seqs = &seqs[range(page, &seqs, |seq| *seq)];
        let entries = entries.iter().filter(|entry| seqs.contains(&entry.seq)).cloned().collect();
        let tombstones = tombstones.iter().filter(|it| seqs.contains(&it.forgotten.seq)).cloned().collect();
        Ok(ReadableEntries { entries, unreadable: Vec::new(), tombstones })
    }

    async fn entries_of(&self, user: UserLabel, id: &MessageId) -> Result<Vec<Entry>, StoreError> {
        let mut tables = self.tables();
        let entries = &tables.session(user)?.entries;
        Ok(entries.iter().filter(|entry| entry.id == *id).cloned().collect())
    }

    async fn entries(&self, user: UserLabel, page: Page) -> Result<Vec<Entry>, StoreError> {
        let mut tables = self.tables();
        let entries = &tables.session(user)?.entries;
        Ok(entries[range(page, entries, |entry| entry.seq)].to_vec())
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
        let there =
            session.record.pruned < summary.first && session.entries.iter().any(|entry| entry.seq == summary.last);
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
        tables.links.retain(|_, link| cutoffs.now < link.expires_at);
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
                let first_kept = session.entries.get(old).map_or(u64::MAX, |first| first.seq);
                let is_old = |it: &mut Tombstone| it.at < kept && it.forgotten.seq < first_kept;
                let tombstones = session.tombstones.extract_if(.., is_old).map(|tombstone| tombstone.forgotten.seq);
                let entries = session.entries.iter().take(old).map(|entry| entry.seq);
                let gone = entries
                    .chain(tombstones)
                    .max()
                    .map_or(session.record.pruned, |gone| gone.max(session.record.pruned));
                session.record.pruned = gone;
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
