//! Admission control: limits per client address, from the first packet on.
//!
//! Counts three things, each at the point where the client's address is first known. *Sockets* in a handshake (request
//! head, PROXY header) are counted at accept by the peer's address; a trusted proxy carries many clients and counts
//! only towards the total. *Connects* and *connections* are counted by the client's address, once a header has named
//! it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client_subnet::{ClientSubnet, EndSite};
use crate::connection_limiter::{ConnectionLimiter, ConnectionPermit, END_SITE_FACTOR, SubnetCounts};
use crate::rate_limit::{RateLimit, RateLimiter};
use crate::trusted_proxies::TrustedProxies;

#[cfg(test)]
mod tests;

/// Sockets beyond the connection limit: pages, health checks, and clients that get an error before the close.
pub const SPARE_SOCKETS: usize = 128;
/// One address may hold a fourth of the free sockets in handshakes, an IPv6 /48 network half of them. A share of the
/// *free* ones: however few remain, some are left to other addresses.
const HANDSHAKE_SHARE: usize = 4;
const END_SITE_SHARE: usize = 2;
/// Handshakes always allowed per address: a browser opens six connections to load a page.
const MIN_HANDSHAKES: usize = 16;
/// Fraction of all sockets that trusted peers may hold in their PROXY header.
const PREAMBLE_SHARE: usize = 2;

/// Limits of a service.
#[derive(Debug, Clone)]
pub struct AdmissionLimits {
    /// Maximum number of connections.
    pub max_connections: usize,
    /// Maximum number of connections per IPv4 address or IPv6 /64 network; also limits its sockets in a handshake.
    pub max_connections_per_address: usize,
    /// Rate limit for connects per IPv4 address or IPv6 /64 network.
    pub connects: RateLimit,
    /// Proxies whose forwarded client address is trusted.
    pub trusted: TrustedProxies,
}

/// Reason for rejecting a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketRejection {
    /// The total is reached.
    Full,
    /// Too many handshakes from this address.
    Address,
}

impl fmt::Display for SocketRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "no sockets left",
            Self::Address => "too many handshakes from this address",
        })
    }
}

/// Admission control of one service.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    connections: Arc<ConnectionLimiter>,
    connects: RateLimiter<ClientSubnet>,
    connects_per_site: RateLimiter<EndSite>,
    sockets: Mutex<Sockets>,
    preambles: Mutex<Preambles>,
}

#[derive(Debug, Default)]
struct Sockets {
    all: usize,
    /// Handshakes of untrusted peers.
    handshakes: SubnetCounts,
}

/// Sockets of trusted peers that have not sent their PROXY header, oldest first.
#[derive(Debug, Default)]
struct Preambles {
    next: u64,
    waiting: BTreeMap<u64, CancellationToken>,
}

/// Permit for one socket, initially in its handshake; released on drop.
#[derive(Debug)]
pub struct SocketPermit {
    admission: Arc<Admission>,
    /// Set during the handshake of an untrusted peer.
    handshake: Option<ClientSubnet>,
}

/// Permit of a trusted peer whose PROXY header is incomplete; released on drop.
#[derive(Debug)]
pub struct PreamblePermit {
    admission: Arc<Admission>,
    number: u64,
    evicted: CancellationToken,
}

impl Admission {
    /// Creates admission control with `limits`.
    pub fn new(limits: AdmissionLimits) -> Arc<Self> {
        let RateLimit { events, window } = limits.connects;
        Arc::new(Self {
            connections: ConnectionLimiter::new(limits.max_connections, limits.max_connections_per_address),
            connects: RateLimiter::new(limits.connects),
            connects_per_site: RateLimiter::new(RateLimit { events: events.saturating_mul(END_SITE_FACTOR), window }),
            sockets: Mutex::default(),
            preambles: Mutex::default(),
            limits,
        })
    }

    /// Returns true if `peer` is a trusted proxy.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.limits.trusted.contains(peer)
    }

    /// Admits a socket that was just accepted from `peer`.
    ///
    /// # Errors
    ///
    /// Too many sockets in all, or too many handshakes from this address.
    pub fn accept(self: &Arc<Self>, peer: IpAddr) -> Result<SocketPermit, SocketRejection> {
        let handshake = (!self.trusts(peer)).then(|| ClientSubnet::of(peer));
        // Checked and counted under one lock: concurrent accepts must not exceed the shares.
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.max_sockets().saturating_sub(sockets.all);
        if free == 0 {
            return Err(SocketRejection::Full);
        }
        if let Some(subnet) = handshake {
            let max = self.limits.max_connections_per_address.max(MIN_HANDSHAKES);
            let (share, share_per_site) = (free.div_ceil(HANDSHAKE_SHARE), free.div_ceil(END_SITE_SHARE));
            let max_per_site = max.saturating_mul(END_SITE_FACTOR).min(share_per_site);
            if !sockets.handshakes.has_capacity(subnet, max.min(share), max_per_site) {
                return Err(SocketRejection::Address);
            }
            sockets.handshakes.add(subnet);
        }
        sockets.all += 1;
        Ok(SocketPermit { admission: Arc::clone(self), handshake })
    }

    fn max_sockets(&self) -> usize {
        self.limits.max_connections.saturating_add(SPARE_SOCKETS)
    }

    /// Counts a connect of the client at `address`.
    ///
    /// # Errors
    ///
    /// Time until the next connect is allowed; a rejected one is not counted.
    pub fn connect(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let subnet = ClientSubnet::of(address);
        self.connects.take(subnet, now)?;
        let Some(site) = subnet.end_site() else { return Ok(()) };
        // The subnet's event is refunded: a connect rejected for its site must not count against the subnet.
        self.connects_per_site.take(site, now).inspect_err(|_| self.connects.refund(&subnet, now))
    }

    /// Acquires a connection for the client at `address`; `None` at its limit or the total's.
    pub fn acquire_connection(&self, address: IpAddr) -> Option<ConnectionPermit> {
        self.connections.try_acquire(address)
    }

    /// Admits a trusted peer to its PROXY header. The number is bounded; beyond it the oldest is evicted, since a
    /// complete header arrives in one packet.
    pub fn preamble(self: &Arc<Self>) -> PreamblePermit {
        let mut preambles = self.preambles.lock().unwrap_or_else(PoisonError::into_inner);
        if (self.max_sockets() / PREAMBLE_SHARE).max(1) <= preambles.waiting.len()
            && let Some((_, oldest)) = preambles.waiting.pop_first()
        {
            oldest.cancel();
        }
        let (number, evicted) = (preambles.next, CancellationToken::new());
        preambles.next += 1;
        preambles.waiting.insert(number, evicted.clone());
        PreamblePermit { admission: Arc::clone(self), number, evicted }
    }
}

impl SocketPermit {
    /// Ends the handshake: from here on the socket counts as a connection only.
    pub fn finish_handshake(&mut self) {
        if let Some(subnet) = self.handshake.take() {
            self.admission.sockets.lock().unwrap_or_else(PoisonError::into_inner).handshakes.remove(subnet);
        }
    }
}

impl Drop for SocketPermit {
    fn drop(&mut self) {
        let mut sockets = self.admission.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.all -= 1;
        if let Some(subnet) = self.handshake {
            sockets.handshakes.remove(subnet);
        }
    }
}

impl PreamblePermit {
    /// Ready when a newer peer has evicted this one.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for PreamblePermit {
    fn drop(&mut self) {
        self.admission.preambles.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&self.number);
    }
}
