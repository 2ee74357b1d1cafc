//! Concurrency limit on the requests of one address, shared by all of its connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::client_subnet::ClientSubnet;

/// Concurrent requests per address. Leaves half of the default connection pool (`DATABASE_MAX_CONNECTIONS`, 16) to
/// other addresses: the pool serves reads in order of arrival, and the context of an answer is one of them.
const MAX_RUNNING_PER_ADDRESS: usize = 8;

/// Limits the concurrent requests of each address.
#[derive(Debug, Default)]
pub struct RequestLimiter {
    /// Semaphores by address. A dead entry stays until the map has to grow.
    addresses: Mutex<HashMap<ClientSubnet, Weak<Semaphore>>>,
}

/// RAII permit for one request; released on drop.
#[derive(Debug)]
pub struct RequestPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

impl RequestLimiter {
    /// Acquires a permit for a request of `address`, in order of arrival.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue.
    pub async fn acquire(&self, address: ClientSubnet) -> RequestPermit {
        // Fails only on a closed semaphore; none is ever closed.
        RequestPermit { _permit: self.of(address).acquire_owned().await.ok() }
    }

    fn of(&self, address: ClientSubnet) -> Arc<Semaphore> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = addresses.get(&address).and_then(Weak::upgrade) {
            return semaphore;
        }
        // Swept only where the map would grow: amortized over the insertions.
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

    fn address(number: u32) -> ClientSubnet {
        ClientSubnet::of(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn limits_each_address_on_its_own() {
        let limiter = RequestLimiter::default();
        let mut held: Vec<_> =
            (0..MAX_RUNNING_PER_ADDRESS).map(|_| limiter.acquire(address(1)).now_or_never().unwrap()).collect();
        assert!(limiter.acquire(address(1)).now_or_never().is_none());
        assert!(limiter.acquire(address(2)).now_or_never().is_some());
        held.pop();
        assert!(limiter.acquire(address(1)).now_or_never().is_some());
    }

    #[test]
    fn evicts_addresses_without_requests() {
        let limiter = RequestLimiter::default();
        let _held = limiter.acquire(address(0)).now_or_never().unwrap();
        for number in 1..10_000 {
            let _ = limiter.acquire(address(number)).now_or_never().unwrap();
        }
        assert!(limiter.addresses.lock().unwrap().capacity() < 16);
    }
}
