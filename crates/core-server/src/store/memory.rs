//! A store in the process's memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use protocol::server_frame::{Entry, Role};
use protocol::{Locale, MessageId, TokenHash, UserLabel};

use super::{Appended, NewEntry, NewSession, Page, SessionRecord, Store, StoreError};

/// Sessions in memory, gone with the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    /// The last label given; labels are never given twice.
    last_user: u64,
    tokens: HashMap<TokenHash, UserLabel>,
    sessions: HashMap<UserLabel, Session>,
}

#[derive(Debug)]
struct Session {
    record: SessionRecord,
    token: TokenHash,
    /// Entry `seq` is at index `seq - 1`.
    entries: Vec<Entry>,
}

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Every change below is complete before the lock is let go, also when a thread panics.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn session(&mut self, user: UserLabel) -> Result<&mut Session, StoreError> {
        self.sessions.get_mut(&user).ok_or(StoreError::NoSession { user })
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create_session(&self, session: NewSession) -> Result<SessionRecord, StoreError> {
        let mut tables = self.tables();
        tables.last_user += 1;
        let user = UserLabel(tables.last_user);
        let NewSession { id, token, locale, created_at } = session;
        let record = SessionRecord { user, id, created_at, locale, seq: 0, messages: 0 };
        tables.tokens.insert(token, user);
        tables.sessions.insert(user, Session { record: record.clone(), token, entries: Vec::new() });
        Ok(record)
    }

    async fn session_by_token(&self, token: TokenHash) -> Result<Option<SessionRecord>, StoreError> {
        let tables = self.tables();
        let user = tables.tokens.get(&token);
        Ok(user.and_then(|user| tables.sessions.get(user)).map(|session| session.record.clone()))
    }

    async fn append(&self, user: UserLabel, entry: NewEntry) -> Result<Appended, StoreError> {
        let mut tables = self.tables();
        let session = tables.session(user)?;
        let NewEntry { id, role, text, at, finish, source } = entry;
        if role == Role::User {
            if session.entries.iter().any(|entry| entry.role == Role::User && entry.id == id) {
                return Ok(Appended::Known);
            }
            session.record.messages += 1;
        }
        session.record.seq += 1;
        let entry = Entry { seq: session.record.seq, id, role, text, at, finish, source };
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
        let index = |seq: u64| usize::try_from(seq).unwrap_or(usize::MAX).min(entries.len());
        let (from, to) = match page {
            Page::After { seq, limit } => (index(seq), index(seq).saturating_add(limit).min(entries.len())),
            Page::Before { seq, limit } => {
                let to = index(seq.saturating_sub(1));
                (to.saturating_sub(limit), to)
            }
        };
        Ok(entries[from..to].to_vec())
    }

    async fn set_locale(&self, user: UserLabel, locale: Locale) -> Result<(), StoreError> {
        self.tables().session(user)?.record.locale = locale;
        Ok(())
    }

    async fn erase(&self, user: UserLabel) -> Result<u64, StoreError> {
        let mut tables = self.tables();
        let session = tables.sessions.remove(&user).ok_or(StoreError::NoSession { user })?;
        tables.tokens.remove(&session.token);
        Ok(session.record.seq)
    }
}

#[cfg(test)]
mod tests {
    use protocol::{ResumeToken, SessionId, Timestamp, UserText};

    use super::*;

    fn new_session(token: &ResumeToken) -> NewSession {
        NewSession {
            id: SessionId::random(),
            token: token.hash(),
            locale: Locale::default(),
            created_at: Timestamp::from_unix_ms(0),
        }
    }

    fn entry(id: &str, role: Role) -> NewEntry {
        NewEntry {
            id: id.parse().unwrap(),
            role,
            text: UserText::new(id),
            at: Timestamp::from_unix_ms(1),
            finish: None,
            source: None,
        }
    }

    async fn seqs(store: &dyn Store, user: UserLabel, page: Page) -> Vec<u64> {
        store.entries(user, page).await.unwrap().iter().map(|entry| entry.seq).collect()
    }

    #[tokio::test]
    async fn entries_are_numbered_paged_and_appended_once() {
        let store = MemoryStore::default();
        let token = ResumeToken::random();
        let user = store.create_session(new_session(&token)).await.unwrap().user;
        for (id, role, new) in [
            ("a", Role::User, true),
            ("a", Role::Assistant, true),
            ("a", Role::User, false),
            ("b", Role::User, true),
            ("b", Role::Assistant, true),
        ] {
            let appended = store.append(user, entry(id, role)).await.unwrap();
            assert_eq!(matches!(appended, Appended::New(_)), new, "{id} {role:?}");
        }
        for (page, want) in [
            (Page::After { seq: 0, limit: 10 }, vec![1, 2, 3, 4]),
            (Page::After { seq: 1, limit: 2 }, vec![2, 3]),
            (Page::After { seq: 99, limit: 2 }, vec![]),
            (Page::Before { seq: 4, limit: 2 }, vec![2, 3]),
            (Page::Before { seq: u64::MAX, limit: 3 }, vec![2, 3, 4]),
            (Page::Before { seq: 0, limit: 3 }, vec![]),
        ] {
            assert_eq!(seqs(&store, user, page).await, want, "{page:?}");
        }
        let record = store.session_by_token(token.hash()).await.unwrap().unwrap();
        assert_eq!((record.seq, record.messages), (4, 2));
        assert_eq!(store.entries_of(user, &"a".parse().unwrap()).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn an_erased_session_is_gone_and_its_label_is_not_given_again() {
        let store = MemoryStore::default();
        let token = ResumeToken::random();
        let user = store.create_session(new_session(&token)).await.unwrap().user;
        store.append(user, entry("a", Role::User)).await.unwrap();
        assert_eq!(store.erase(user).await.unwrap(), 1);
        assert_eq!(store.session_by_token(token.hash()).await.unwrap(), None);
        assert!(store.append(user, entry("b", Role::User)).await.is_err());
        assert!(store.erase(user).await.is_err());
        let next = store.create_session(new_session(&ResumeToken::random())).await.unwrap().user;
        assert_eq!(next, UserLabel(2));
    }
}
