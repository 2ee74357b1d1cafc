//! All live sessions, and the way into them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use protocol::{Locale, ResumeToken, SessionId, UserLabel};
use tokio_util::task::TaskTracker;

use super::Session;
use crate::store::{NewSession, SessionRecord, StoreError};
use crate::turn::{Engine, now};

/// The live sessions of this process.
#[derive(Debug)]
pub struct Sessions {
    engine: Engine,
    per_user_max: usize,
    tasks: TaskTracker,
    live: Mutex<HashMap<UserLabel, Weak<Session>>>,
}

/// A session somebody may attach to.
#[derive(Debug)]
pub struct Opened {
    /// The session.
    pub session: Arc<Session>,
    /// The secret that resumes it.
    pub token: ResumeToken,
}

impl Sessions {
    /// No session is live. Answers run on `tasks`; a person may have `per_user_max`
    /// messages waiting or running.
    pub fn new(engine: Engine, per_user_max: usize, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self { engine, per_user_max, tasks, live: Mutex::default() })
    }

    /// Begins a session.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn create(self: &Arc<Self>, locale: Locale) -> Result<Opened, StoreError> {
        let token = ResumeToken::random();
        let new = NewSession { id: SessionId::random(), token: token.hash(), locale, created_at: now() };
        let record = self.engine.store.create_session(new).await?;
        Ok(Opened { session: self.live_session(record), token })
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
        let Some(record) = self.engine.store.session_by_token(token.hash()).await? else {
            return Ok(None);
        };
        let session = self.live_session(record);
        if let Some(locale) = locale.filter(|locale| *locale != session.locale()) {
            session.set_locale(locale).await?;
        }
        Ok(Some(Opened { session, token }))
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

    pub(super) fn per_user_max(&self) -> usize {
        self.per_user_max
    }

    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    fn live(&self) -> MutexGuard<'_, HashMap<UserLabel, Weak<Session>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
