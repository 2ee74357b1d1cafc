//! What several cores that work on one database share through Redis: the limits, whose turn it
//! is, and what happens in a session.
//!
//! Nothing that must last is in Redis, and no core waits for it: while it is gone each core goes
//! on with its share of the limits, and finds out by itself when it is back. What cores tell each
//! other is a hint that saves a look into the database; whoever missed some looks there.

mod claims;
mod event;
mod keys;
mod link;
mod outgoing;
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

pub use claims::{Claim, ClaimNumber, Claimed, Counted, UnderWay, WindowKind};
pub use event::{Envelope, Event};
pub use url::{RedisUrl, RedisUrlError};

use keys::Keys;
use outgoing::Outgoing;

/// What waits to be told to other cores. When it is full the link is made anew, after which
/// every session looks into the database.
const OUTGOING: usize = 16_384;
/// What was heard and waits to be taken up; bounded in the same way.
const HEARD: usize = 16_384;

/// How cores share.
#[derive(Debug, Clone)]
pub struct SharedSettings {
    /// Where Redis is.
    pub url: RedisUrl,
    /// What holds for all cores together.
    pub limits: SharedLimits,
}

/// Limits that hold for all cores together.
#[derive(Debug, Clone, Copy)]
pub struct SharedLimits {
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
pub enum Heard {
    /// There is a link again; claims made before it are gone.
    Linked,
    /// From now on everything told about the session of this person is heard.
    Joined(UserLabel),
    /// Something about their session, not yet read.
    Told(UserLabel, Vec<u8>),
    /// Nobody else listened to what was told with this note.
    Alone(UserLabel, u64),
}

/// The way to the other cores.
#[derive(Debug)]
pub struct Shared {
    settings: SharedSettings,
    keys: Keys,
    /// The name this core tells events under. What counts in the windows is named by it and the
    /// time since `epoch`: the same name each time.
    process: CoreId,
    epoch: Instant,
    link: Mutex<Option<Link>>,
    /// Sessions that are live here.
    joined: Mutex<HashSet<UserLabel>>,
    outgoing: mpsc::Sender<Outgoing>,
    waiting: Mutex<Option<mpsc::Receiver<Outgoing>>>,
    heard: mpsc::Sender<Heard>,
    /// Cores there are, this one included, as far as is known.
    cores: AtomicUsize,
    claims_made: AtomicU64,
    lost: IntCounter,
}

/// A connection that works.
#[derive(Debug, Clone)]
struct Link {
    /// The name this core claims under.
    core: CoreId,
    /// The name before: what was claimed under it is claimed anew.
    previous: CoreId,
    redis: MultiplexedConnection,
    /// It is lost, or something that went over it is: it has to be made anew.
    broken: CancellationToken,
}

impl Shared {
    /// Not linked yet: see [`Shared::run`]. What is heard has to be taken from the receiver; `lost`
    /// counts how often there was no link.
    pub fn new(settings: SharedSettings, lost: IntCounter) -> (Arc<Self>, mpsc::Receiver<Heard>) {
        Self::with_queue(settings, lost, OUTGOING)
    }

    /// Like [`Shared::new`], with room for `outgoing` of what waits to be told.
    fn with_queue(settings: SharedSettings, lost: IntCounter, outgoing: usize) -> (Arc<Self>, mpsc::Receiver<Heard>) {
        let (outgoing, waiting) = mpsc::channel(outgoing);
        let (heard, hearing) = mpsc::channel(HEARD);
        let shared = Self {
            keys: Keys::new(settings.url.database()),
            settings,
            process: CoreId::random(),
            epoch: Instant::now(),
            link: Mutex::default(),
            joined: Mutex::default(),
            outgoing,
            waiting: Mutex::new(Some(waiting)),
            heard,
            cores: AtomicUsize::new(1),
            claims_made: AtomicU64::new(0),
            lost,
        };
        (Arc::new(shared), hearing)
    }

    /// Whether the other cores can be reached.
    pub fn is_linked(&self) -> bool {
        self.lock_link().is_some()
    }

    /// How many cores share the limits, this one included. Where Redis is gone: how many there
    /// were; 1 if it was never there.
    pub fn cores(&self) -> usize {
        self.cores.load(Ordering::Relaxed)
    }

    /// The part of `limit` in force here: all of it as long as the cores count together.
    pub fn in_force(&self, limit: RateLimit) -> RateLimit {
        if self.is_linked() { limit } else { limit.share(self.cores()) }
    }

    /// Whether `core` is this one.
    pub fn is_this(&self, core: CoreId) -> bool {
        core == self.process
    }

    /// From now on what is told about the session of `user` is to be heard here;
    /// [`Heard::Joined`] says when it is.
    pub fn join(&self, user: UserLabel) {
        self.joined().insert(user);
        self.send(Outgoing::Join(user));
    }

    /// The session of `user` has ended here.
    pub fn leave(&self, user: UserLabel) {
        self.joined().remove(&user);
        self.send(Outgoing::Leave(user));
    }

    /// Tells the other cores about the session of `user`, in the order of the calls. If nobody
    /// listens, [`Heard::Alone`] brings back `note`. Without a link it is lost.
    pub fn tell(&self, user: UserLabel, event: Event, note: u64) {
        if self.is_linked() {
            self.send(Outgoing::Tell { user, payload: Envelope { core: self.process, event }.encode(), note });
        }
    }

    fn send(&self, outgoing: Outgoing) {
        if self.outgoing.try_send(outgoing).is_err() {
            self.break_link();
        }
    }

    fn break_link(&self) {
        if let Some(link) = self.link() {
            self.give_up(&link);
        }
    }

    /// Nobody is to wait for this link any more.
    fn give_up(&self, link: &Link) {
        link.broken.cancel();
        self.lock_link().take_if(|current| current.core == link.core);
    }

    fn outgoing_receiver(&self) -> Option<mpsc::Receiver<Outgoing>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn link(&self) -> Option<Link> {
        self.lock_link().clone()
    }

    fn set_link(&self, link: Option<Link>) {
        *self.lock_link() = link;
    }

    fn lock_link(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn joined(&self) -> MutexGuard<'_, HashSet<UserLabel>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
