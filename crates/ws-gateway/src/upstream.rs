//! The way to a core: know them, pick one, connect.

mod address;
mod cores;
mod lease;
mod names;
mod probe;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

pub(crate) use self::address::looks_like_host;
pub use self::address::{CoreAddress, CoreAddresses};
pub(crate) use self::cores::CoreUse;
use self::cores::{Cores, Left, Listed, Pick};
pub(crate) use self::lease::Lease;
use self::names::{Names, Resolve, SystemResolver};

/// Silence after which the kernel asks whether the core's machine is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// How long the addresses of a name are believed.
const LOOK_UP_EVERY: Duration = Duration::from_secs(5);
/// The least time between two look-ups, when connections fail meanwhile.
const LOOK_UP_PAUSE: Duration = Duration::from_millis(500);
/// The part of the whole time that one core has to answer while a healthy one is left to be tried: half
/// a second of the usual three.
const SHARE_OF_TRY: u32 = 6;

/// The cores, shared by all connections.
#[derive(Debug)]
pub(crate) struct Upstream {
    names: CoreAddresses,
    cores: Mutex<Cores>,
    /// Asks for a look-up before it is time for the next.
    look_up: Notify,
    /// Counts look-ups.
    looked_up: watch::Sender<u64>,
    /// A core has been ejected, is to be probed sooner than it was, or is to be checked.
    ejected: Notify,
}

/// Why there is no connection to a core.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// No name has an address.
    #[error("no address is known for {0}")]
    Unresolved(CoreAddresses),
    /// The last core tried did not answer in its share of the time.
    #[error("no answer from {address} in time")]
    TimedOut { address: SocketAddr },
    /// The last core tried refused.
    #[error("cannot connect to {address}: {source}")]
    Refused { address: SocketAddr, source: io::Error },
    /// The core accepts connections and does not answer.
    #[error("{address} accepts connections and does not answer: {source}")]
    Silent { address: SocketAddr, source: io::Error },
}

impl Upstream {
    /// The cores at `names`. Those that are addresses are known at once; see [`Upstream::keep_known`].
    pub(crate) fn new(names: &CoreAddresses) -> Arc<Self> {
        let mut cores = Cores::new(fastrand::Rng::new());
        cores.list(&Names::new(names).addresses());
        let (looked_up, _) = watch::channel(0);
        let (look_up, ejected) = (Notify::new(), Notify::new());
        Arc::new(Self { names: names.clone(), cores: Mutex::new(cores), look_up, looked_up, ejected })
    }

    /// How each core is used at the moment.
    pub(crate) fn usage(&self) -> Vec<CoreUse> {
        self.cores().usage()
    }

    /// Looks names up again and again, so that no connection has to.
    pub(crate) async fn keep_known(&self) -> Infallible {
        self.keep_known_by(&SystemResolver).await
    }

    async fn keep_known_by(&self, resolver: &impl Resolve) -> Infallible {
        let mut names = Names::new(&self.names);
        if names.are_literal() {
            return pending().await;
        }
        loop {
            names.look_up(resolver).await;
            self.list(&names.addresses());
            self.looked_up.send_modify(|count| *count += 1);
            sleep(LOOK_UP_PAUSE).await;
            let _sooner_or_later = timeout(LOOK_UP_EVERY - LOOK_UP_PAUSE, self.look_up.notified()).await;
        }
    }

    fn list(&self, listed: &[Listed]) {
        let changed = self.cores().list(listed);
        if changed {
            // One that was ejected may be back in the list.
            self.ejected.notify_one();
            tracing::info!(cores = listed.len(), "cores found");
        }
    }

    /// Connects to a core within `limit` for all tries: first to the one with the fewest connections, then to
    /// the others. The lease counts the connection as open until it is dropped.
    ///
    /// # Errors
    ///
    /// None could be reached; the error is the last one's.
    ///
    /// # Cancel safety
    ///
    /// Safe: a connection that is being made is given up.
    pub(crate) async fn connect(self: &Arc<Self>, limit: Duration) -> Result<(TcpStream, Lease), ConnectError> {
        let deadline = Instant::now() + limit;
        self.known(deadline).await;
        let mut tried = Vec::new();
        let mut error = ConnectError::Unresolved(self.names.clone());
        while let Some(pick) = self.pick(&tried) {
            let mut lease = Lease::new(Arc::clone(self), pick);
            error = match timeout_at(try_until(pick.left, deadline, limit), open(pick.address)).await {
                Ok(Ok(stream)) => return Ok((stream, lease)),
                Ok(Err(source)) => ConnectError::Refused { address: pick.address, source },
                Err(_) => ConnectError::TimedOut { address: pick.address },
            };
            match error.lack() {
                Some(Lack::Everywhere) => return Err(error),
                Some(Lack::TowardsOne) => {}
                None => lease.failed(&error),
            }
            if deadline <= Instant::now() {
                break;
            }
            tried.push(pick.address);
        }
        // The cores may have moved.
        self.look_up.notify_one();
        Err(error)
    }

    /// Waits, until `deadline` at most, for a look-up if there is no core at all.
    async fn known(&self, deadline: Instant) {
        let mut looked_up = self.looked_up.subscribe();
        if self.cores().listed() == 0 {
            self.look_up.notify_one();
            let _in_time = timeout_at(deadline, looked_up.changed()).await;
        }
    }

    fn pick(&self, tried: &[SocketAddr]) -> Option<Pick> {
        self.cores().pick(tried)
    }

    fn cores(&self) -> MutexGuard<'_, Cores> {
        self.cores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a core may take to answer: less if another one is likely to answer at once, and for the only
/// healthy one long enough for a lost packet to be sent again.
fn try_until(left: Left, deadline: Instant, limit: Duration) -> Instant {
    let now = Instant::now();
    match left {
        Left::Healthy => deadline.min(now + limit / SHARE_OF_TRY),
        Left::Ejected => now + deadline.saturating_duration_since(now) / 2,
        Left::Nothing => deadline,
    }
}

/// Connects to a core and sets what a long-lived connection needs: small lines leave at once, a dead machine
/// is noticed.
async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// A resource of this machine that is used up: no core's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// No core can be reached without it: open files, memory.
    Everywhere,
    /// Another core may be reached: local ports are used up for each destination apart.
    TowardsOne,
}

impl ConnectError {
    fn lack(&self) -> Option<Lack> {
        match self {
            Self::Refused { source, .. } => lack(source),
            Self::Unresolved(_) | Self::TimedOut { .. } | Self::Silent { .. } => None,
        }
    }
}

fn lack(error: &io::Error) -> Option<Lack> {
    match Errno::from_io_error(error)? {
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Some(Lack::Everywhere),
        Errno::ADDRNOTAVAIL => Some(Lack::TowardsOne),
        _ => None,
    }
}
