//! What several cores that work on one database share through Redis: the limits, whose turn it
//! is, and what happens in a session.
//!
//! Nothing that must last is in Redis, and no core waits for it: while it is gone each core goes
//! on with its share of the limits, and finds out by itself when it is back. What cores tell each
//! other is a hint that saves a look into the database; whoever missed some looks there.

mod claims;
mod connection;
mod event;
mod keys;
mod publisher;
mod scripts;
mod tokens;
mod url;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use boot::RateLimit;
use boot::metrics::IntCounter;
use protocol::UserLabel;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use claims::{Claim, ClaimNumber, ClaimOutcome, CountedAttempt, InFlight, WindowKind};
pub use event::{Envelope, SessionEvent};
pub use url::{RedisUrl, RedisUrlError};

use keys::Keys;
use publisher::Command;

/// What waits to be told to other cores. When it is full the link is made anew, after which
/// every session looks into the database.
const COMMAND_QUEUE: usize = 16_384;
/// What was heard and waits to be taken up; bounded in the same way.
const EVENT_QUEUE: usize = 16_384;

/// How cores share.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Where Redis is.
    pub url: RedisUrl,
    /// What holds for all cores together.
    pub limits: ClusterLimits,
}

/// Limits that hold for all cores together.
#[derive(Debug, Clone, Copy)]
pub struct ClusterLimits {
    /// Messages per person and time.
    pub rate: RateLimit,
    /// Messages per address and time.
    pub address_rate: RateLimit,
    /// Messages of one person that may wait or be answered at once.
    pub per_user_max: usize,
    /// Calls to the model at once.
    pub max_in_flight: usize,
    /// The longest time from a claim to its end: all answers that a session may have pending, one
    /// after another.
    pub longest_claim: Duration,
}

/// Names a core. It claims under a name that lasts as long as its link: what it claimed under an
/// earlier one is free.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(u64);

impl CoreId {
    fn random() -> Self {
        Self(fastrand::u64(..))
    }
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoreId({self})")
    }
}

/// What comes from the other cores.
#[derive(Debug, Clone)]
pub enum ClusterEvent {
    /// There is a link again; claims made before it are gone.
    Connected,
    /// From now on everything told about the session of this person is heard.
    Subscribed(UserLabel),
    /// Something about their session, not yet read.
    Published(UserLabel, Vec<u8>),
    /// Nobody else listened to what was told with this note.
    NoSubscribers(UserLabel, u64),
}

/// The way to the other cores.
#[derive(Debug)]
pub struct Cluster {
    settings: ClusterSettings,
    keys: Keys,
    /// The name this core tells events under. What counts in the windows is named by it and the
    /// time since `epoch`: the same name each time.
    process: CoreId,
    epoch: Instant,
    connection: Mutex<Option<RedisConnection>>,
    /// Sessions that are live here.
    subscriptions: Mutex<HashSet<UserLabel>>,
    commands: mpsc::Sender<Command>,
    commands_rx: Mutex<Option<mpsc::Receiver<Command>>>,
    events: mpsc::Sender<ClusterEvent>,
    /// Cores there are, this one included, as far as is known.
    members: AtomicUsize,
    claims_made: AtomicU64,
    disconnects: IntCounter,
}

/// A connection that works.
#[derive(Debug, Clone)]
struct RedisConnection {
    /// The name this core claims under.
    core: CoreId,
    /// The name before: what was claimed under it is claimed anew.
    previous: CoreId,
    redis: MultiplexedConnection,
    /// It is lost, or something that went over it is: it has to be made anew.
    broken: CancellationToken,
}

impl Cluster {
    /// Not linked yet: see [`Cluster::run`]. What is heard has to be taken from the receiver; `lost`
    /// counts how often there was no link.
    pub fn new(settings: ClusterSettings, disconnects: IntCounter) -> (Arc<Self>, mpsc::Receiver<ClusterEvent>) {
        Self::with_queue(settings, disconnects, COMMAND_QUEUE)
    }

    /// Like [`Cluster::new`], with room for `outgoing` of what waits to be told.
    fn with_queue(
        settings: ClusterSettings,
        disconnects: IntCounter,
        commands: usize,
    ) -> (Arc<Self>, mpsc::Receiver<ClusterEvent>) {
        let (commands, commands_rx) = mpsc::channel(commands);
        let (events, events_rx) = mpsc::channel(EVENT_QUEUE);
        let cluster = Self {
            keys: Keys::new(settings.url.database()),
            settings,
            process: CoreId::random(),
            epoch: Instant::now(),
            connection: Mutex::default(),
            subscriptions: Mutex::default(),
            commands,
            commands_rx: Mutex::new(Some(commands_rx)),
            events,
            members: AtomicUsize::new(1),
            claims_made: AtomicU64::new(0),
            disconnects,
        };
        (Arc::new(cluster), events_rx)
    }

    /// Whether the other cores can be reached.
    pub fn is_connected(&self) -> bool {
        self.lock_connection().is_some()
    }

    /// How many cores share the limits, this one included. Where Redis is gone: how many there
    /// were; 1 if it was never there.
    pub fn members(&self) -> usize {
        self.members.load(Ordering::Relaxed)
    }

    /// The part of `limit` in force here: all of it as long as the cores count together.
    pub fn effective_limit(&self, limit: RateLimit) -> RateLimit {
        if self.is_connected() { limit } else { limit.share(self.members()) }
    }

    /// Whether `core` is this one.
    pub fn is_own_id(&self, core: CoreId) -> bool {
        core == self.process
    }

    /// From now on what is told about the session of `user` is to be heard here;
    /// [`ClusterEvent::Subscribed`] says when it is.
    pub fn subscribe(&self, user: UserLabel) {
        self.subscriptions().insert(user);
        self.send(Command::Subscribe(user));
    }

    /// The session of `user` has ended here.
    pub fn unsubscribe(&self, user: UserLabel) {
        self.subscriptions().remove(&user);
        self.send(Command::Unsubscribe(user));
    }

    /// Tells the other cores about the session of `user`, in the order of the calls. If nobody
    /// listens, [`ClusterEvent::NoSubscribers`] brings back `note`. Without a link it is lost.
    pub fn publish(&self, user: UserLabel, event: SessionEvent, revision: u64) {
        if self.is_connected() {
            self.send(Command::Publish { user, payload: Envelope { core: self.process, event }.encode(), revision });
        }
    }

    fn send(&self, commands: Command) {
        if self.commands.try_send(commands).is_err() {
            self.drop_connection();
        }
    }

    fn drop_connection(&self) {
        if let Some(connection) = self.connection() {
            self.discard(&connection);
        }
    }

    /// Nobody is to wait for this link any more.
    fn discard(&self, connection: &RedisConnection) {
        connection.broken.cancel();
        self.lock_connection().take_if(|current| current.core == connection.core);
    }

    fn take_commands(&self) -> Option<mpsc::Receiver<Command>> {
        self.commands_rx.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn connection(&self) -> Option<RedisConnection> {
        self.lock_connection().clone()
    }

    fn set_connection(&self, connection: Option<RedisConnection>) {
        *self.lock_connection() = connection;
    }

    fn lock_connection(&self) -> MutexGuard<'_, Option<RedisConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscriptions(&self) -> MutexGuard<'_, HashSet<UserLabel>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
