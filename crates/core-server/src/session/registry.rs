//! All live sessions, and the way into them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use protocol::{Locale, ResumeToken, SessionId, UserLabel};
use tokio_util::task::TaskTracker;

use super::Session;
use crate::store::{NewSession, SessionRecord, StoreError};
use crate::turn::{Engine, now};

/// The live sessions of this process.
#[derive(Debug)]
pub struct Sessions {
    engine: Engine,
    policy: Policy,
    tasks: TaskTracker,
    live: Mutex<HashMap<UserLabel, Weak<Session>>>,
}

/// What holds for every session.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Messages of one person that may wait or be answered at once.
    pub per_user_max: usize,
    /// How long an answer goes on that nobody listens to.
    pub orphan: Duration,
}

/// A session somebody may attach to.
#[derive(Debug)]
pub struct Opened {
    /// The session.
    pub session: Arc<Session>,
    /// The secret that resumes it.
    pub token: ResumeToken,
    /// Up to which `seq` its entries are not kept any more.
    pub swept: u64,
}

impl Sessions {
    /// No session is live. Answers run on `tasks`.
    pub fn new(engine: Engine, policy: Policy, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self { engine, policy, tasks, live: Mutex::default() })
    }

    /// Begins a session.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn create(self: &Arc<Self>, locale: Locale) -> Result<Opened, StoreError> {
        let token = ResumeToken::random();
        let new = NewSession { id: SessionId::random(), token: token.clone(), locale, created_at: now() };
        let record = self.engine.store.create_session(new).await?;
        let swept = record.swept;
        Ok(Opened { session: self.live_session(record), token, swept })
    }

    /// Goes on with the session of `token`; `None` if there is none. `locale` changes its language.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn resume(
        self: &Arc<Self>,
        token: ResumeToken,
        locale: Option<Locale>,
    ) -> Result<Option<Opened>, StoreError> {
        let Some(record) = self.engine.store.session_by_token(&token).await? else {
            return Ok(None);
        };
        let swept = record.swept;
        let session = self.live_session(record);
        if let Some(locale) = locale.filter(|locale| *locale != session.locale()) {
            session.set_locale(locale).await?;
        }
        Ok(Some(Opened { session, token, swept }))
    }

    /// The session of `record`: the live one if there is one, which may know more by now.
    fn live_session(self: &Arc<Self>, record: SessionRecord) -> Arc<Session> {
        let mut live = self.live();
        if let Some(session) = live.get(&record.user).and_then(Weak::upgrade) {
            return session;
        }
        let user = record.user;
        let session = Arc::new(Session::new(Arc::clone(self), record));
        live.insert(user, Arc::downgrade(&session));
        session
    }

    /// Forgets the session of `user` if nothing holds it any more.
    pub(super) fn let_go(&self, user: UserLabel) {
        let mut live = self.live();
        // Another one may have been made since the last holder let go.
        if live.get(&user).is_some_and(|session| session.strong_count() == 0) {
            live.remove(&user);
        }
    }

    /// What turns need.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy
    }

    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    pub(super) fn live(&self) -> MutexGuard<'_, HashMap<UserLabel, Weak<Session>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
