//! The way to a core: know them, pick one, connect.

mod address;
mod core_selector;
mod dns;
mod endpoint_guard;
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
pub(crate) use self::core_selector::CoreStatus;
use self::core_selector::{CoreSelector, Listed, Pick, Remaining};
use self::dns::{CoreNames, Resolve, SystemResolver};
pub(crate) use self::endpoint_guard::EndpointGuard;

/// Silence after which the kernel asks whether the core's machine is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long the addresses of a name are believed.
const DNS_REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// The least time between two look-ups, when connections fail meanwhile.
const DNS_MIN_INTERVAL: Duration = Duration::from_millis(500);
/// The part of the whole time that one core has to answer while a healthy one is left to be tried: half
/// a second of the usual three.
const TRY_SHARE: u32 = 6;

/// The cores, shared by all connections.
#[derive(Debug)]
pub(crate) struct Upstream {
    names: CoreAddresses,
    cores: Mutex<CoreSelector>,
    /// Asks for a look-up before it is time for the next.
    lookup_requested: Notify,
    /// Counts look-ups.
    lookups: watch::Sender<u64>,
    /// A core has been ejected, is to be probed sooner than it was, or is to be checked.
    probe_wakeup: Notify,
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
    /// The cores at `names`. Those that are addresses are known at once; see [`Upstream::refresh_dns_loop`].
    pub(crate) fn new(names: &CoreAddresses) -> Arc<Self> {
        let mut cores = CoreSelector::new(fastrand::Rng::new());
        cores.set_listed(&CoreNames::new(names).addresses());
        let (lookups, _) = watch::channel(0);
        let (lookup_requested, probe_wakeup) = (Notify::new(), Notify::new());
        Arc::new(Self { names: names.clone(), cores: Mutex::new(cores), lookup_requested, lookups, probe_wakeup })
    }

    /// How each core is used at the moment.
    pub(crate) fn usage(&self) -> Vec<CoreStatus> {
        self.selector().usage()
    }

    /// Looks names up again and again, so that no connection has to.
    pub(crate) async fn refresh_dns_loop(&self) -> Infallible {
        self.refresh_dns_loop_with(&SystemResolver).await
    }

    async fn refresh_dns_loop_with(&self, resolver: &impl Resolve) -> Infallible {
        let mut names = CoreNames::new(&self.names);
        if names.are_literal() {
            return pending().await;
        }
        loop {
            names.look_up(resolver).await;
            self.list(&names.addresses());
            self.lookups.send_modify(|count| *count += 1);
            sleep(DNS_MIN_INTERVAL).await;
            let _sooner_or_later =
                timeout(DNS_REFRESH_INTERVAL - DNS_MIN_INTERVAL, self.lookup_requested.notified()).await;
        }
    }

    fn list(&self, listed: &[Listed]) {
        let changed = self.selector().set_listed(listed);
        if changed {
            // One that was ejected may be back in the list.
            self.probe_wakeup.notify_one();
            tracing::info!(cores = listed.len(), "core addresses changed");
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
    pub(crate) async fn connect(self: &Arc<Self>, limit: Duration) -> Result<(TcpStream, EndpointGuard), ConnectError> {
        let deadline = Instant::now() + limit;
        self.wait_for_addresses(deadline).await;
        let mut tried = Vec::new();
        let mut error = ConnectError::Unresolved(self.names.clone());
        while let Some(pick) = self.pick(&tried) {
            let mut endpoint = EndpointGuard::new(Arc::clone(self), pick);
            error = match timeout_at(try_deadline(pick.remaining, deadline, limit), open(pick.address)).await {
                Ok(Ok(stream)) => return Ok((stream, endpoint)),
                Ok(Err(source)) => ConnectError::Refused { address: pick.address, source },
                Err(_) => ConnectError::TimedOut { address: pick.address },
            };
            match error.exhausted() {
                Some(Exhausted::AllDestinations) => return Err(error),
                Some(Exhausted::OneDestination) => {}
                None => endpoint.mark_failed(&error),
            }
            if deadline <= Instant::now() {
                break;
            }
            tried.push(pick.address);
        }
        // The cores may have moved.
        self.lookup_requested.notify_one();
        Err(error)
    }

    /// Waits, until `deadline` at most, for a look-up if there is no core at all.
    async fn wait_for_addresses(&self, deadline: Instant) {
        let mut lookups = self.lookups.subscribe();
        if self.selector().listed_count() == 0 {
            self.lookup_requested.notify_one();
            let _in_time = timeout_at(deadline, lookups.changed()).await;
        }
    }

    fn pick(&self, tried: &[SocketAddr]) -> Option<Pick> {
        self.selector().pick(tried)
    }

    fn selector(&self) -> MutexGuard<'_, CoreSelector> {
        self.cores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a core may take to answer: less if another one is likely to answer at once, and for the only
/// healthy one long enough for a lost packet to be sent again.
fn try_deadline(remaining: Remaining, deadline: Instant, limit: Duration) -> Instant {
    let now = Instant::now();
    match remaining {
        Remaining::Healthy => deadline.min(now + limit / TRY_SHARE),
        Remaining::Ejected => now + deadline.saturating_duration_since(now) / 2,
        Remaining::None => deadline,
    }
}

/// Connects to a core and sets what a long-lived connection needs: small lines leave at once, a dead machine
/// is noticed.
async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// A resource of this machine that is used up: no core's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exhausted {
    /// No core can be reached without it: open files, memory.
    AllDestinations,
    /// Another core may be reached: local ports are used up for each destination apart.
    OneDestination,
}

impl ConnectError {
    fn exhausted(&self) -> Option<Exhausted> {
        match self {
            Self::Refused { source, .. } => exhausted(source),
            Self::Unresolved(_) | Self::TimedOut { .. } | Self::Silent { .. } => None,
        }
    }
}

fn exhausted(error: &io::Error) -> Option<Exhausted> {
    match Errno::from_io_error(error)? {
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Some(Exhausted::AllDestinations),
        Errno::ADDRNOTAVAIL => Some(Exhausted::OneDestination),
        _ => None,
    }
}
