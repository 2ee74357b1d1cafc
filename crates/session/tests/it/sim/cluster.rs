//! The cluster of the simulation: claims as the scripts of Redis decide them.

use std::collections::BTreeSet;

use protocol::MessageId;
use session::CoreId;

/// Lifetime of a heartbeat, after which the core counts as dead.
const HEARTBEAT_TTL_MS: u64 = 3_000;

/// State in Redis.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// Claims in their order.
    claims: Vec<Claim>,
    /// Identifiers whose connection ended, with the end of their last heartbeat.
    expiring: Vec<(CoreId, u64)>,
    /// Messages that the person stopped before they were answered.
    pub(super) stopped: BTreeSet<String>,
}

/// Claim to answer a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) id: MessageId,
    pub(super) core: CoreId,
    pub(super) number: u64,
}

/// Outcome of a claim.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    Granted { before: usize },
    Held,
    Busy,
}

impl Cluster {
    /// Records that the connection of `core` has ended at `now`.
    pub(super) fn disconnected(&mut self, core: CoreId, now_ms: u64) {
        self.expiring.push((core, now_ms + HEARTBEAT_TTL_MS));
    }

    /// Removes claims of dead cores and of `previous`.
    fn clean(&mut self, previous: Option<CoreId>, now_ms: u64) {
        let is_dead = |core: CoreId| self.expiring.iter().any(|(dead, until)| *dead == core && *until <= now_ms);
        self.claims.retain(|claim| Some(claim.core) != previous && !is_dead(claim.core));
    }

    /// Claims a message. `most`: maximum of earlier claims; `None`: beyond the limits.
    pub(super) fn claim(&mut self, claim: Claim, previous: CoreId, most: Option<usize>, now_ms: u64) -> Claimed {
        self.clean(Some(previous), now_ms);
        if let Some(at) = self.claims.iter().position(|held| held.id == claim.id) {
            if self.claims[at].core != claim.core {
                return Claimed::Held;
            }
            // That attempt has ended, but its release has not arrived yet.
            self.claims.remove(at);
        }
        let before = self.claims.len();
        if most.is_some_and(|most| most <= before) {
            return Claimed::Busy;
        }
        self.claims.push(claim);
        Claimed::Granted { before }
    }

    /// Claims a message in flight again, after a reconnect.
    pub(super) fn reclaim(&mut self, claim: Claim, previous: CoreId, now_ms: u64) {
        self.clean(Some(previous), now_ms);
        if !self.claims.iter().any(|held| held.id == claim.id) {
            self.claims.push(claim);
        }
    }

    pub(super) fn release(&mut self, claim: &Claim, is_stopped: bool) {
        let before = self.claims.len();
        self.claims.retain(|held| held != claim);
        if is_stopped && self.claims.len() < before {
            self.stopped.insert(claim.id.to_string());
        }
    }

    /// Returns the claims of live cores, in their order.
    pub(super) fn in_flight(&mut self, now_ms: u64) -> &[Claim] {
        self.clean(None, now_ms);
        &self.claims
    }

    pub(super) fn is_claimed(&mut self, id: &MessageId, now_ms: u64) -> bool {
        self.in_flight(now_ms).iter().any(|claim| claim.id == *id)
    }
}
