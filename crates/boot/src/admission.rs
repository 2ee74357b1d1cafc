//! Admission control: how much of a service one address may hold, from the first packet on.
//!
//! Three things are counted, each where the address is first known. *Sockets* that have not become a connection yet
//! (a request head, a PROXY header) at accept, by the peer's own address: a trusted proxy speaks for many and is only
//! part of the total. *Connects* and *connections* by the person's address, once a header has named it.

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

/// Sockets beyond the connections: pages, health checks, and clients that are sent away with a word.
pub const SPARE_SOCKETS: usize = 128;
/// Handshakes of one address are at most a fourth of the sockets that are free, and those of an IPv6 /48 network half
/// of them: however few are left, they leave some to others.
const HANDSHAKE_SHARE: usize = 4;
const END_SITE_SHARE: usize = 2;
/// Handshakes that one address may always have: a browser loads a page over six connections.
const MIN_HANDSHAKES: usize = 16;
/// Part of all sockets that trusted peers may have in their PROXY header.
const PREAMBLE_SHARE: usize = 2;

/// Limits of a service.
#[derive(Debug, Clone)]
pub struct AdmissionLimits {
    /// Most connections.
    pub max_connections: usize,
    /// Most connections of one IPv4 address or IPv6 /64 network, and most of its sockets in a handshake.
    pub max_connections_per_address: usize,
    /// New connections of one IPv4 address or IPv6 /64 network.
    pub connects: RateLimit,
    /// Peers that speak for others.
    pub trusted: TrustedProxies,
}

/// Why a socket is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketRejection {
    /// There are as many sockets as there may be.
    Full,
    /// Its address has too many in a handshake.
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
    /// Handshakes of peers that are not trusted.
    handshakes: SubnetCounts,
}

/// Sockets of trusted peers in their PROXY header, oldest first.
#[derive(Debug, Default)]
struct Preambles {
    next: u64,
    waiting: BTreeMap<u64, CancellationToken>,
}

/// The right to one socket, at first in its handshake; gives it back when dropped.
#[derive(Debug)]
pub struct SocketPermit {
    admission: Arc<Admission>,
    /// Only while it is in its handshake, and its peer not trusted.
    handshake: Option<ClientSubnet>,
}

/// A trusted peer's right to take its time over a PROXY header; ends when dropped.
#[derive(Debug)]
pub struct PreamblePermit {
    admission: Arc<Admission>,
    number: u64,
    evicted: CancellationToken,
}

impl Admission {
    /// Admission control within `limits`.
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

    /// Whether the word of `peer` about the person behind it is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.limits.trusted.contains(peer)
    }

    /// Admits a socket of `peer` that has just been accepted.
    ///
    /// # Errors
    ///
    /// There are too many, in all or in a handshake from this address.
    pub fn accept(self: &Arc<Self>, peer: IpAddr) -> Result<SocketPermit, SocketRejection> {
        let handshake = (!self.trusts(peer)).then(|| ClientSubnet::of(peer));
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

    /// Counts a new connection of a person at `address`.
    ///
    /// # Errors
    ///
    /// Time until there may be one more; what is refused is not counted.
    pub fn connect(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let subnet = ClientSubnet::of(address);
        self.connects.take(subnet, now)?;
        let Some(site) = subnet.end_site() else { return Ok(()) };
        self.connects_per_site.take(site, now).inspect_err(|_| self.connects.refund(&subnet, now))
    }

    /// A connection of a person at `address`, unless they or all together have as many as they may.
    pub fn acquire_connection(&self, address: IpAddr) -> Option<ConnectionPermit> {
        self.connections.try_acquire(address)
    }

    /// Admits a trusted peer to its PROXY header. There are a bounded number at once: where there are more, the one
    /// that has taken longest gives way, since a header that is whole comes in one packet.
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
    /// The handshake is over: the socket is a connection, which is counted as such.
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
    /// Ready when another peer needs its place.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for PreamblePermit {
    fn drop(&mut self) {
        self.admission.preambles.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&self.number);
    }
}
