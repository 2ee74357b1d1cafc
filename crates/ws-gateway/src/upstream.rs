//! Connections to the cores: DNS, selection, connect, health.

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

/// TCP keepalive: idle time before the first probe to the core's host.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// DNS answers are refreshed at this interval.
const DNS_REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// Minimum interval between look-ups when failing connections request them.
const DNS_MIN_INTERVAL: Duration = Duration::from_millis(500);
/// Fraction of the connect timeout for one attempt while another healthy core remains: half a second of the default 3
/// s.
const TRY_SHARE: u32 = 6;

/// Endpoint selection, shared by all connections.
#[derive(Debug)]
pub(crate) struct Upstream {
    names: CoreAddresses,
    cores: Mutex<CoreSelector>,
    /// Requests a look-up before the next regular one.
    lookup_requested: Notify,
    /// Number of completed look-ups.
    lookups: watch::Sender<u64>,
    /// Wakes the probe loop after an ejection, a suspicion, or a change of deadlines.
    probe_wakeup: Notify,
}

/// Reason for the lack of a connection to a core.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// No host name resolves.
    #[error("no address is known for {0}")]
    Unresolved(CoreAddresses),
    /// The last attempt timed out.
    #[error("no answer from {address} in time")]
    TimedOut { address: SocketAddr },
    /// The last attempt was refused.
    #[error("cannot connect to {address}: {source}")]
    Refused { address: SocketAddr, source: io::Error },
    /// The core accepts connections but sends nothing.
    #[error("{address} accepts connections and does not answer: {source}")]
    Silent { address: SocketAddr, source: io::Error },
}

impl Upstream {
    /// Creates the upstream of `names`. IP addresses are usable at once, host names after the first look-up: see
    /// [`Upstream::refresh_dns_loop`].
    pub(crate) fn new(names: &CoreAddresses) -> Arc<Self> {
        let mut cores = CoreSelector::new(fastrand::Rng::new());
        cores.set_listed(&CoreNames::new(names).addresses());
        let (lookups, _) = watch::channel(0);
        let (lookup_requested, probe_wakeup) = (Notify::new(), Notify::new());
        Arc::new(Self { names: names.clone(), cores: Mutex::new(cores), lookup_requested, lookups, probe_wakeup })
    }

    /// Returns the status of every core.
    pub(crate) fn usage(&self) -> Vec<CoreStatus> {
        self.selector().usage()
    }

    /// Resolves host names periodically, so that no connection waits for DNS.
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
            // An ejected core may be listed once more: recompute the next probe.
            self.probe_wakeup.notify_one();
            tracing::info!(cores = listed.len(), "core addresses changed");
        }
    }

    /// Connects to a core within `limit`, all attempts included: first to the one with the fewest connections, then to
    /// the others. The guard counts the connection as open until it is dropped.
    ///
    /// # Errors
    ///
    /// No core could be reached; returns the last attempt's error.
    ///
    /// # Cancel safety
    ///
    /// Safe: a pending connection attempt is dropped.
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
        // The addresses may be stale.
        self.lookup_requested.notify_one();
        Err(error)
    }

    /// Waits for a look-up, until `deadline` at most, if no core is known.
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

    /// Must not be held across an await; every method of the selector is synchronous and short.
    fn selector(&self) -> MutexGuard<'_, CoreSelector> {
        self.cores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the deadline of one attempt: short while a healthy core remains, and for the only healthy one long enough
/// for a SYN retransmission (1 s).
fn try_deadline(remaining: Remaining, deadline: Instant, limit: Duration) -> Instant {
    let now = Instant::now();
    match remaining {
        Remaining::Healthy => deadline.min(now + limit / TRY_SHARE),
        Remaining::Ejected => now + deadline.saturating_duration_since(now) / 2,
        Remaining::None => deadline,
    }
}

/// Connects to a core. Disables Nagle's algorithm (lines are small and interactive) and enables TCP keepalive (detects
/// a dead host).
async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// Exhausted resource of this machine; not evidence against a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exhausted {
    /// File descriptors or memory: no core can be reached.
    AllDestinations,
    /// Local ports, which are exhausted per destination: other cores can be reached.
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
