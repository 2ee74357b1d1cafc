//! Turns of requests, shared by all connections of one address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use boot::Household;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests of one address that run at once. Half of a database's connections (`DATABASE_MAX_CONNECTIONS`, 16) are left
/// to the others: reads are first come, first served, and the context of an answer is one of them.
const MAX_RUNNING_PER_ADDRESS: usize = 8;

/// Bounds the requests that run at once for each address.
#[derive(Debug, Default)]
pub struct RequestLimiter {
    /// Addresses with a request that runs or waits, and some that had one.
    addresses: Mutex<HashMap<Household, Weak<Semaphore>>>,
}

/// The right to run one request; gives the turn to the next one when dropped.
#[derive(Debug)]
pub struct RequestPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

impl RequestLimiter {
    /// Waits until a request of `address` may run, first come, first served.
    ///
    /// # Cancel safety
    ///
    /// A wait that is given up loses its place.
    pub async fn acquire(&self, address: Household) -> RequestPermit {
        // Never closed.
        RequestPermit { _permit: self.of(address).acquire_owned().await.ok() }
    }

    fn of(&self, address: Household) -> Arc<Semaphore> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = addresses.get(&address).and_then(Weak::upgrade) {
            return semaphore;
        }
        // Only where the table would grow, so that an insertion stays cheap.
        if addresses.len() == addresses.capacity() {
            addresses.retain(|_, semaphore| 0 < semaphore.strong_count());
        }
        let semaphore = Arc::new(Semaphore::new(MAX_RUNNING_PER_ADDRESS));
        addresses.insert(address, Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt as _;

    use super::*;

    fn address(number: u32) -> Household {
        Household::of(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn an_address_has_its_turns_and_others_have_theirs() {
        let limiter = RequestLimiter::default();
        let mut held: Vec<_> =
            (0..MAX_RUNNING_PER_ADDRESS).map(|_| limiter.acquire(address(1)).now_or_never().unwrap()).collect();
        assert!(limiter.acquire(address(1)).now_or_never().is_none());
        assert!(limiter.acquire(address(2)).now_or_never().is_some());
        held.pop();
        assert!(limiter.acquire(address(1)).now_or_never().is_some());
    }

    #[test]
    fn addresses_without_requests_are_forgotten() {
        let limiter = RequestLimiter::default();
        let _held = limiter.acquire(address(0)).now_or_never().unwrap();
        for number in 1..10_000 {
            let _ = limiter.acquire(address(number)).now_or_never().unwrap();
        }
        assert!(limiter.addresses.lock().unwrap().capacity() < 16);
    }
}
