//! Rate windows of persons and addresses, which count or reject an attempt atomically.

use std::sync::Arc;
use std::time::Duration;

use limits::{ClientSubnet, RateLimit, RateLimiter};
use protocol::UserLabel;
use tokio::time::Instant;

/// Limits of a person and of an address; both have the same window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) person: RateLimit,
    pub(super) address: RateLimit,
}

/// The windows of this core.
#[derive(Debug)]
pub(super) struct Windows {
    pub(super) person: RateLimiter<UserLabel>,
    pub(super) address: RateLimiter<ClientSubnet>,
}

/// An attempt's place in both windows. Its drop refunds both.
#[derive(Debug)]
#[must_use = "dropping it refunds it"]
pub(super) struct Reservation {
    windows: Arc<Windows>,
    user: UserLabel,
    pub(super) from: ClientSubnet,
    pub(super) at: Instant,
    kept: bool,
}

impl Windows {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let Limits { person, address } = limits;
        Arc::new(Self { person: RateLimiter::new(person), address: RateLimiter::new(address) })
    }

    /// Counts an attempt of `user` from `from` now, if both windows have room within `limits`.
    ///
    /// # Errors
    ///
    /// Returns the wait until both have room; nothing is counted.
    pub(super) fn reserve(
        self: &Arc<Self>,
        limits: Limits,
        user: UserLabel,
        from: ClientSubnet,
    ) -> Result<Reservation, Duration> {
        let at = Instant::now();
        // The person's window first: a person's attempts are serialized, so that none is rejected because of a
        // place that is refunded below. An address is shared by persons.
        if let Err(wait) = self.person.take_within(limits.person, user, at) {
            return Err(self.address.wait_within(limits.address, &from, at).map_or(wait, |other| wait.max(other)));
        }
        let reservation = Reservation { windows: Arc::clone(self), user, from, at, kept: false };
        match self.address.take_within(limits.address, from, at) {
            Ok(()) => Ok(reservation),
            Err(wait) => {
                reservation.keep();
                self.person.refund(&user, at);
                Err(wait)
            }
        }
    }
}

impl Reservation {
    /// Commits the count.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.kept {
            self.windows.person.refund(&self.user, self.at);
            self.windows.address.refund(&self.from, self.at);
        }
    }
}
