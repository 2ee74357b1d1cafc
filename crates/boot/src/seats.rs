//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::household::{Household, Site};

/// An IPv6 /48 network may have this many times what one of its /64 networks may: a site can use any number of
/// them, and is not to have their limits added up.
pub(crate) const SITE_FACTOR: usize = 4;

/// Counts open connections in all and per address.
#[derive(Debug)]
pub struct Seats {
    max: usize,
    max_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: AddressCounts,
}

/// Numbers of something per household and per site. Holds only those that have any.
#[derive(Debug, Default)]
pub(crate) struct AddressCounts {
    households: HashMap<Household, usize>,
    sites: HashMap<Site, usize>,
}

impl AddressCounts {
    /// Whether `household` may have one more where each may have `max`, and each site `max_of_site`.
    pub(crate) fn has_room(&self, household: Household, max: usize, max_of_site: usize) -> bool {
        let theirs = self.households.get(&household).copied().unwrap_or_default();
        let of_site = household.site().and_then(|site| self.sites.get(&site).copied()).unwrap_or_default();
        theirs < max && of_site < max_of_site
    }

    pub(crate) fn add(&mut self, household: Household) {
        *self.households.entry(household).or_default() += 1;
        if let Some(site) = household.site() {
            *self.sites.entry(site).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, household: Household) {
        decrement(&mut self.households, &household);
        if let Some(site) = household.site() {
            decrement(&mut self.sites, &site);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.households.is_empty() && self.sites.is_empty()
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

/// The right to one open connection; gives it back when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    address: Household,
}

impl Seats {
    /// Seats for `max` connections, `max_per_address` of them from one IPv4 address or IPv6 /64 network, and four
    /// times as many from one IPv6 /48 network.
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, taken: Mutex::default() })
    }

    /// A seat for a person at `address`, unless they or all together have as many as they may.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let address = Household::of(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let max_of_site = self.max_per_address.saturating_mul(SITE_FACTOR);
        if self.max <= taken.all || !taken.by_address.has_room(address, self.max_per_address, max_of_site) {
            return None;
        }
        taken.all += 1;
        taken.by_address.add(address);
        Some(Seat { seats: Arc::clone(self), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        taken.by_address.remove(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn seats_are_limited_and_given_back() {
        let seats = Seats::new(3, 2);
        let first = seats.take(ip("203.0.113.9")).unwrap();
        let _second = seats.take(ip("203.0.113.9")).unwrap();
        assert!(seats.take(ip("203.0.113.9")).is_none(), "two of this address");
        let third = seats.take(ip("2001:db8::1")).unwrap();
        assert!(seats.take(ip("198.51.100.7")).is_none(), "three in all");
        drop(third);
        drop(first);
        let _a = seats.take(ip("2001:db8::2:1")).unwrap();
        let _b = seats.take(ip("2001:db8::3:1")).unwrap();
        assert!(seats.take(ip("2001:db8::4:1")).is_none(), "one network, one address");
        assert_eq!(seats.taken.lock().unwrap().by_address.households.len(), 2);
    }

    #[test]
    fn a_site_has_not_the_seats_of_all_its_networks() {
        let seats = Seats::new(1_000, 2);
        let of = |network: u16| seats.take(ip(&format!("2001:db8:7:{network:x}::1")));
        let taken: Vec<Seat> = (0..99).filter_map(of).collect();
        assert_eq!(taken.len(), 2 * SITE_FACTOR);
        assert!(seats.take(ip("2001:db8:8::1")).is_some(), "another site");
        drop(taken);
        let left = &seats.taken.lock().unwrap().by_address;
        assert!(left.is_empty(), "{left:?}");
    }
}
