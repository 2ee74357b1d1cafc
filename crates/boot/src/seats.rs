//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::household::Household;

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
    /// Only addresses that have a seat.
    by_address: HashMap<Household, usize>,
}

/// The right to one open connection; gives it back when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    address: Household,
}

impl Seats {
    /// Seats for `max` connections, `max_per_address` of them from one IPv4 address or IPv6 /64 network.
    pub fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, taken: Mutex::default() })
    }

    /// A seat for a person at `address`, unless they or all together have as many as they may.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let address = Household::of(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let theirs = taken.by_address.get(&address).copied().unwrap_or_default();
        if self.max <= taken.all || self.max_per_address <= theirs {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, theirs + 1);
        Some(Seat { seats: Arc::clone(self), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(theirs) = taken.by_address.get_mut(&self.address) {
            *theirs -= 1;
            if *theirs == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_limited_and_given_back() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
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
        assert_eq!(seats.taken.lock().unwrap().by_address.len(), 2);
    }
}
