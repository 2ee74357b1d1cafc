//! Connection limits, in all and per client subnet.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::client_subnet::{ClientSubnet, EndSite};

/// Limit of an IPv6 /48 network as a multiple of that of a /64: a site can use any number of /64 networks, and their
/// limits must not add up.
pub(crate) const END_SITE_FACTOR: usize = 4;

/// Limits the number of open connections in all and per client subnet.
///
/// ```
/// use limits::ConnectionLimiter;
///
/// let limiter = ConnectionLimiter::new(100, 1);
/// let address = "203.0.113.9".parse().unwrap();
/// let permit = limiter.try_acquire(address).unwrap();
/// assert!(limiter.try_acquire(address).is_none());
/// drop(permit);
/// assert!(limiter.try_acquire(address).is_some());
/// ```
#[derive(Debug)]
pub struct ConnectionLimiter {
    max: usize,
    max_per_address: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: SubnetCounts,
}

/// Counters per subnet and per end site. Zero entries are removed, which bounds the memory by the open connections.
#[derive(Debug, Default)]
pub(crate) struct SubnetCounts {
    subnets: HashMap<ClientSubnet, usize>,
    sites: HashMap<EndSite, usize>,
}

impl SubnetCounts {
    /// Returns true if `subnet` is below `max` and its site below `max_per_site`.
    pub(crate) fn has_capacity(&self, subnet: ClientSubnet, max: usize, max_per_site: usize) -> bool {
        let theirs = self.subnets.get(&subnet).copied().unwrap_or_default();
        let per_site = subnet.end_site().and_then(|site| self.sites.get(&site).copied()).unwrap_or_default();
        theirs < max && per_site < max_per_site
    }

    pub(crate) fn add(&mut self, subnet: ClientSubnet) {
        *self.subnets.entry(subnet).or_default() += 1;
        if let Some(site) = subnet.end_site() {
            *self.sites.entry(site).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, subnet: ClientSubnet) {
        decrement(&mut self.subnets, &subnet);
        if let Some(site) = subnet.end_site() {
            decrement(&mut self.sites, &site);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.subnets.is_empty() && self.sites.is_empty()
    }
}

fn decrement<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Permit for one open connection; released on drop.
#[derive(Debug)]
pub struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    address: ClientSubnet,
}

impl ConnectionLimiter {
    /// Allows `max` connections in all, `max_per_address` from one IPv4 address or IPv6 /64 network, and four times as
    /// many from one IPv6 /48 network.
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, open: Mutex::default() })
    }

    /// Acquires a permit for the client at `address`; `None` at its limit or the total's.
    pub fn try_acquire(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit> {
        let address = ClientSubnet::of(address);
        // Checked and counted under one lock: concurrent callers must not exceed the limit.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let max_per_site = self.max_per_address.saturating_mul(END_SITE_FACTOR);
        if self.max <= open.all || !open.by_address.has_capacity(address, self.max_per_address, max_per_site) {
            return None;
        }
        open.all += 1;
        open.by_address.add(address);
        Some(ConnectionPermit { limiter: Arc::clone(self), address })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limiter.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        open.by_address.remove(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn limits_and_releases_connections() {
        let limiter = ConnectionLimiter::new(3, 2);
        let first = limiter.try_acquire(ip("203.0.113.9")).unwrap();
        let _second = limiter.try_acquire(ip("203.0.113.9")).unwrap();
        assert!(limiter.try_acquire(ip("203.0.113.9")).is_none(), "two of this address");
        let third = limiter.try_acquire(ip("2001:db8::1")).unwrap();
        assert!(limiter.try_acquire(ip("198.51.100.7")).is_none(), "three in all");
        drop(third);
        drop(first);
        let _a = limiter.try_acquire(ip("2001:db8::2:1")).unwrap();
        let _b = limiter.try_acquire(ip("2001:db8::3:1")).unwrap();
        assert!(limiter.try_acquire(ip("2001:db8::4:1")).is_none(), "one network, one address");
        assert_eq!(limiter.open.lock().unwrap().by_address.subnets.len(), 2);
    }

    #[test]
    fn limits_an_end_site_below_the_sum_of_its_subnets() {
        let limiter = ConnectionLimiter::new(1_000, 2);
        let of = |network: u16| limiter.try_acquire(ip(&format!("2001:db8:7:{network:x}::1")));
        let taken: Vec<ConnectionPermit> = (0..99).filter_map(of).collect();
        assert_eq!(taken.len(), 2 * END_SITE_FACTOR);
        assert!(limiter.try_acquire(ip("2001:db8:8::1")).is_some(), "another site");
        drop(taken);
        let left = &limiter.open.lock().unwrap().by_address;
        assert!(left.is_empty(), "{left:?}");
    }
}
