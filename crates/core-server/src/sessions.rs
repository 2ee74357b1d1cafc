//! Live sessions of this process: their registry, and what drives their machines.
//!
//! A [`LiveSession`] owns a [`session::Session`] and starts its effects. It is in memory while a connection holds it or
//! work of it is in progress; then it is evicted, so that memory follows the people who are there.

mod cluster_events;
mod effects;
mod error;
mod history;
mod live_session;
mod outbox;
mod requests;
mod restore;
mod retention;
mod store_requests;
#[cfg(test)]
mod tests;
mod timer;
mod turn_task;
mod upkeep;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use protocol::{Country, Locale, ResumeSecret, ResumeToken, SessionId, UserLabel};
use session::{ContinuousUse, Input, Settings, StoredSession};
use store::{MemoryStore, NewSession, SessionRecord, Store, StoreError, WithUnkept};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::SessionError;
pub use history::History;
pub use live_session::{Call, LINK_VALIDITY, LiveSession};
pub use outbox::Outbox;
pub use requests::RequestError;

use crate::turn::{TurnService, now};

/// Background catch-ups at once: after a reconnect to the cluster all live sessions would stampede the database.
const MAX_CONCURRENT_CATCH_UPS: usize = 8;

/// The live sessions of this process.
#[derive(Debug)]
pub struct Sessions {
    turns: TurnService,
    limits: SessionLimits,
    settings: Arc<Settings>,
    tasks: TaskTracker,
    draining: CancellationToken,
    live: Mutex<Live>,
    catch_ups: Semaphore,
    uses: ContinuousUse,
    /// Sessions that are not kept; the store of `turns` has them too.
    unkept: Arc<MemoryStore>,
    /// Users whose sessions were opened since the last flush of their use to the store.
    opened_users: Mutex<HashSet<UserLabel>>,
}

#[derive(Debug, Default)]
struct Live {
    sessions: HashMap<UserLabel, Weak<LiveSession>>,
    evictions: EvictionEpochs,
}

/// Eviction counts, sharded by user, so that a resume retries only for evictions of its own shard and not for a
/// crowd that comes and goes.
#[derive(Debug, Clone, Copy)]
struct EvictionEpochs([u32; SHARDS]);

/// Shards of [`EvictionEpochs`]: few enough to copy them at every resume.
const SHARDS: usize = 64;

impl Default for EvictionEpochs {
    fn default() -> Self {
        Self([0; SHARDS])
    }
}

impl EvictionEpochs {
    /// Returns the epoch of the shard of `user`.
    fn of(&self, user: UserLabel) -> u32 {
        self.0[shard(user)]
    }

    fn advance(&mut self, user: UserLabel) {
        let epoch = &mut self.0[shard(user)];
        *epoch = epoch.wrapping_add(1);
    }
}

fn shard(user: UserLabel) -> usize {
    usize::try_from(user.0 % SHARDS as u64).unwrap_or_default()
}

/// Limits of every session.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Messages of one person in flight at once (`PER_USER_MAX`).
    pub per_user_max: usize,
    /// Time for which an answer continues without a listener (`ORPHAN_SECONDS`).
    pub abandoned_after: Duration,
    /// Retention of entries and of unused sessions (`RETENTION_DAYS`); `None`: for good.
    pub retention: Option<Duration>,
    /// Retention of conversations that no client opens (`UNREACHED_DAYS`); `None`: for good.
    pub unreached: Option<Duration>,
}

/// A resume token, and its place among those of its session.
#[derive(Debug, Clone)]
pub struct SessionKey {
    pub token: ResumeToken,
    /// Number of tokens before it.
    pub rotations: u64,
}

/// A session to attach to.
#[derive(Debug)]
pub struct Opened {
    pub session: Arc<LiveSession>,
    /// The token that has opened it.
    pub key: SessionKey,
    /// Highest `seq` of entries removed by retention.
    pub swept: u64,
}

impl Sessions {
    /// Creates an empty registry. Answers run on `tasks`. `draining` is cancelled when the server begins to drain.
    pub fn new(
        mut turns: TurnService,
        limits: SessionLimits,
        tasks: TaskTracker,
        draining: CancellationToken,
    ) -> Arc<Self> {
        let unkept = Arc::new(MemoryStore::unkept());
        turns.store = Arc::new(WithUnkept::new(turns.store, Arc::clone(&unkept)));
        let settings = Settings {
            per_user_max: limits.per_user_max,
            abandoned_after: limits.abandoned_after,
            risk_window: turns.budget.rate().window,
            source: turns.expected_source(),
        };
        Arc::new(Self {
            turns,
            limits,
            settings: Arc::new(settings),
            tasks,
            draining,
            live: Mutex::default(),
            catch_ups: Semaphore::new(MAX_CONCURRENT_CATCH_UPS),
            uses: ContinuousUse::default(),
            unkept,
            opened_users: Mutex::default(),
        })
    }

    /// Creates a session, which is stored if `keep`, else lives in the memory of this core. Without `locale` its language
    /// is detected from its first message.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn create(
        self: &Arc<Self>,
        keep: bool,
        locale: Option<Locale>,
        country: Option<Country>,
    ) -> Result<Opened, SessionError> {
        let chosen = locale;
        let locale = locale.unwrap_or_default();
        let token = ResumeToken::random();
        let new = NewSession { id: SessionId::random(), token: token.clone(), locale, country, created_at: now() };
        let store: &dyn Store = if keep { &*self.turns.store } else { &*self.unkept };
        let record = store.create_session(new).await?;
        let swept = record.pruned;
        let session = Arc::new(LiveSession::new(Arc::clone(self), record, token.clone(), true));
        if let Some(locale) = chosen {
            session.cell().session.confirm_locale(locale);
        }
        self.live().sessions.insert(session.user(), Arc::downgrade(&session));
        Ok(Opened { session, key: SessionKey { token, rotations: 0 }, swept })
    }

    /// Resumes the session of `secret`; `None` if there is none. A code is used up. `locale` changes its language.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn resume(
        self: &Arc<Self>,
        secret: ResumeSecret,
        locale: Option<Locale>,
        country: Option<Country>,
    ) -> Result<Option<Opened>, SessionError> {
        let token = match secret {
            ResumeSecret::Token(token) => token,
            ResumeSecret::Code(code) => match self.turns.store.take_link(&code, now()).await? {
                Some(token) => token,
                None => return Ok(None),
            },
        };
        let (session, record) = loop {
            let evictions = self.live().evictions;
            let Some(record) = self.turns.store.session_by_token(&token).await? else {
                return Ok(None);
            };
            // Read again if the live session may have been evicted since: the record may lack its last entries.
            let epoch = evictions.of(record.user);
            if let Some(session) = self.live_session(record.clone(), &token, epoch) {
                break (session, record);
            }
        };
        let may_be_swept = record.seq == record.pruned || self.limits.retention.is_some();
        if may_be_swept {
            // Before it is used: a sweep, here or on another core, does not know of this resume yet.
            match self.turns.store.touch(&[record.user], now()).await {
                // A read-only database sweeps nothing, and its entries can be read.
                Err(error @ StoreError::Unavailable(_)) => tracing::warn!(%error, "use of a session not recorded"),
                touched => touched?,
            }
        }
        if !may_be_swept && self.limits.unreached.is_some() {
            self.opened_users().insert(record.user);
        }
        let stored = StoredSession { seq: record.seq, locale: record.locale, rotations: record.rotations };
        let is_outdated = session.cell().session.is_outdated(stored);
        if may_be_swept || is_outdated {
            // A session that was swept or erased meanwhile is gone after this, and cannot be attached to.
            session.call(Input::CatchUp).await?;
        }
        match session.apply_hello(locale, country, record.seq).await {
            // Erased since its record was read.
            Err(SessionError::Gone) => Ok(None),
            taken_up => {
                let key = SessionKey { token, rotations: record.rotations };
                taken_up.map(|()| Some(Opened { session, key, swept: record.pruned }))
            }
        }
    }

    /// Returns the live session of `record`, which may be newer than it, or a new one. `None` if no session is live and
    /// its shard is past `epoch`: this one may have been evicted after the record was read.
    fn live_session(
        self: &Arc<Self>,
        record: SessionRecord,
        token: &ResumeToken,
        epoch: u32,
    ) -> Option<Arc<LiveSession>> {
        let mut live = self.live();
        match live.sessions.get(&record.user) {
            Some(session) => session.upgrade(),
            None if live.evictions.of(record.user) != epoch => None,
            None => {
                let session = Arc::new(LiveSession::new(Arc::clone(self), record, token.clone(), false));
                live.sessions.insert(session.user(), Arc::downgrade(&session));
                Some(session)
            }
        }
    }

    /// Removes the session of `user` when it is dropped. Until then no other one is created: `live_session` finds the
    /// dead entry. Both steps under one lock, so that a resume sees the new epoch as soon as the entry is gone.
    fn evict(&self, user: UserLabel) {
        let mut live = self.live();
        live.sessions.remove(&user);
        live.evictions.advance(user);
    }

    fn live_session_of(&self, user: UserLabel) -> Option<Arc<LiveSession>> {
        self.live().sessions.get(&user)?.upgrade()
    }

    fn users(&self) -> Vec<UserLabel> {
        self.live().sessions.keys().copied().collect()
    }

    pub fn live_count(&self) -> usize {
        self.live().sessions.len()
    }

    /// Returns the service that admits and answers messages.
    pub fn turns(&self) -> &TurnService {
        &self.turns
    }

    fn uses(&self) -> &ContinuousUse {
        &self.uses
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings)
    }

    fn catch_ups(&self) -> &Semaphore {
        &self.catch_ups
    }

    fn limits(&self) -> SessionLimits {
        self.limits
    }

    fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Takes the users whose sessions were opened since the last call.
    fn take_opened_users(&self) -> Vec<UserLabel> {
        std::mem::take(&mut *self.opened_users()).into_iter().collect()
    }

    /// Puts `users` back after a failed flush, for the next one.
    fn restore_opened_users(&self, users: Vec<UserLabel>) {
        self.opened_users().extend(users);
    }

    fn opened_users(&self) -> MutexGuard<'_, HashSet<UserLabel>> {
        self.opened_users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
