//! DNS resolution of core host names.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::address::{CoreAddress, CoreAddresses};
use super::core_selector::Listed;

/// Timeout of one look-up.
const DNS_TIMEOUT: Duration = Duration::from_secs(5);

/// Resolves host names.
pub(super) trait Resolve {
    /// Returns all addresses of `host`.
    ///
    /// # Errors
    ///
    /// The name is unknown, or no resolver answers.
    fn addresses(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver: `/etc/hosts` and DNS.
#[derive(Debug, Clone, Copy)]
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host((host, port)).await?.collect())
    }
}

/// Host names with their last known addresses.
#[derive(Debug)]
pub(super) struct CoreNames(Vec<Name>);

#[derive(Debug)]
struct Name {
    core: CoreAddress,
    addresses: Vec<SocketAddr>,
    /// The last look-up failed.
    failing: bool,
}

impl CoreNames {
    pub(super) fn new(cores: &CoreAddresses) -> Self {
        let name = |core: &CoreAddress| {
            let addresses = core.literal().into_iter().collect();
            Name { core: core.clone(), addresses, failing: false }
        };
        Self(cores.0.iter().map(name).collect())
    }

    /// Returns true if no entry needs a look-up.
    pub(super) fn are_literal(&self) -> bool {
        self.0.iter().all(|name| name.core.literal().is_some())
    }

    /// Returns all known addresses without duplicates. One that is also listed by itself does not count as half of a
    /// dual-stack name.
    pub(super) fn addresses(&self) -> Vec<Listed> {
        let mut all: Vec<Listed> = self.0.iter().flat_map(Name::listed).collect();
        all.sort_unstable();
        all.dedup_by_key(|listed| listed.address);
        all
    }

    /// Resolves every name. A failed look-up keeps the last addresses: a DNS outage must not take the cores with it.
    pub(super) async fn look_up(&mut self, resolver: &impl Resolve) {
        join_all(self.0.iter_mut().filter(|name| name.core.literal().is_none()).map(|name| name.look_up(resolver)))
            .await;
    }
}

impl Name {
    fn listed(&self) -> impl Iterator<Item = Listed> {
        let of_ipv4 = self.addresses.iter().filter(|address| address.is_ipv4()).count();
        let dual = 0 < of_ipv4 && of_ipv4 < self.addresses.len();
        self.addresses.iter().map(move |&address| Listed { address, dual })
    }

    async fn look_up(&mut self, resolver: &impl Resolve) {
        let found = timeout(DNS_TIMEOUT, resolver.addresses(&self.core.host, self.core.port)).await;
        let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match found.and_then(|found| if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }) {
            Ok(found) => {
                if self.failing {
                    tracing::info!(core.name = %self.core, "DNS look-up of core succeeded after failures");
                }
                self.addresses = found;
                self.failing = false;
            }
            Err(error) => {
                // Logged at the change only, not at every look-up.
                if !self.failing {
                    tracing::warn!(core.name = %self.core, %error, "DNS look-up of core failed");
                }
                self.failing = true;
            }
        }
    }
}
