//! Core selection with outlier ejection: a sans-I/O state machine.
//!
//! A connection goes to the healthy core with the fewest connections. A core that cannot be connected to, or connects
//! and does not reply, is *ejected* for a time that doubles with each failure. After that the gateway probes it with a
//! connection of its own; clients are routed to other cores until it has replied. Ejection never rejects a client:
//! without a healthy core, connections go to the ejected ones.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Longest ejection after a first failure; doubles with each further one.
const FIRST_EJECTION: Duration = Duration::from_secs(1);
/// Cap of the ejection time.
const LONGEST_EJECTION: Duration = Duration::from_secs(30);

/// Minimum interval between a health check and one that a waiting connection requests: many clients that wait for one
/// database must not cost more than one check a second.
const SUSPICION_PAUSE: Duration = Duration::from_secs(1);

/// Known cores and their health.
#[derive(Debug)]
pub(super) struct CoreSelector {
    /// Listed cores, and unlisted ones that still have connections.
    known: Vec<Core>,
    rng: fastrand::Rng,
}

#[derive(Debug)]
struct Core {
    address: SocketAddr,
    /// Connections, including pending ones.
    open: usize,
    /// Failed or immediately lost connections.
    failed: u64,
    /// Has sent a byte at least once.
    has_worked: bool,
    /// The host name resolves to both IPv4 and IPv6; the host may serve only one of them.
    dual: bool,
    health: Health,
    /// A connection has waited too long, and no check has started since.
    suspected: bool,
    /// Start of the last check while healthy.
    checked: Option<Instant>,
    /// May get new connections.
    listed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Healthy,
    Ejected {
        until: Instant,
        failures: u32,
    },
    /// A probe is out.
    Probed {
        failures: u32,
    },
}

/// A core that may get new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    pub(super) address: SocketAddr,
    /// The host name resolves to both address families.
    pub(super) dual: bool,
}

/// Effect of a connection's outcome on the health of its core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// To a healthy core; a failure ejects it.
    Regular,
    /// Decides whether an ejected core becomes healthy.
    Probe,
    /// To a core that is being probed, because no better one exists. Success restores the core; failure decides
    /// nothing.
    Extra,
}

/// A selected core. The connection counts until it is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) address: SocketAddr,
    pub(super) role: Role,
    /// Alternatives if this attempt fails.
    pub(super) remaining: Remaining,
}

/// Cores that have not been tried yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remaining {
    /// At least one is healthy.
    Healthy,
    /// All are ejected.
    Ejected,
    None,
}

/// Status of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CoreStatus {
    pub(crate) address: SocketAddr,
    /// Connections, including pending ones.
    pub(crate) open: usize,
    /// Total of failed or immediately lost connections.
    pub(crate) failed: u64,
    /// Ejected, and not restored since.
    pub(crate) ejected: bool,
    /// Never worked, and its name has addresses of the other family: the host may serve only those.
    pub(crate) absent: bool,
    /// May get new connections.
    pub(crate) listed: bool,
}

/// An ejection that has just begun or been extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ejection {
    /// Consecutive failures.
    pub(super) failures: u32,
    /// Time until the next probe.
    pub(super) retry_in: Duration,
}

impl CoreSelector {
    /// Creates a selector without cores.
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Self { known: Vec::new(), rng }
    }

    /// Replaces the list of cores; returns true if it changed. An unlisted core keeps its connections, and its health
    /// if it is listed again before they have ended.
    pub(super) fn set_listed(&mut self, cores: &[Listed]) -> bool {
        let mut changed = false;
        for core in &mut self.known {
            let listed = cores.iter().find(|listed| listed.address == core.address);
            changed |= listed.is_some() != core.listed;
            core.listed = listed.is_some();
            core.dual = listed.map_or(core.dual, |listed| listed.dual);
        }
        for &Listed { address, dual } in cores {
            if !self.known.iter().any(|core| core.address == address) {
                self.known.push(Core::new(address, dual));
                changed = true;
            }
        }
        self.remove_unlisted();
        changed
    }

    /// Returns the status of every core.
    pub(super) fn usage(&self) -> Vec<CoreStatus> {
        let usage = |core: &Core| CoreStatus {
            address: core.address,
            open: core.open,
            failed: core.failed,
            ejected: core.health != Health::Healthy,
            absent: core.dual && !core.has_worked,
            listed: core.listed,
        };
        self.known.iter().map(usage).collect()
    }

    /// Returns the number of cores that may get new connections.
    pub(super) fn listed_count(&self) -> usize {
        self.known.iter().filter(|core| core.listed).count()
    }

    /// Selects a core that is not in `tried`; `None` if none remains.
    pub(super) fn pick(&mut self, tried: &[SocketAddr]) -> Option<Pick> {
        let healthy = |core: &Core| core.health == Health::Healthy;
        let index = self.best(tried, healthy).or_else(|| self.best(tried, |_| true))?;
        Some(self.assign(index, tried))
    }

    /// Selects an ejected core whose time is over at `now`, for a probe.
    pub(super) fn probe(&mut self, now: Instant) -> Option<Pick> {
        let due = |core: &Core| matches!(core.health, Health::Ejected { until, .. } if until <= now);
        let index = self.best(&[], due)?;
        Some(self.assign(index, &[]))
    }

    /// Selects every healthy core for a health check; none if only one is listed, since a result could change nothing.
    pub(super) fn check(&mut self, now: Instant) -> Vec<Pick> {
        if self.listed_count() < 2 {
            return Vec::new();
        }
        self.check_where(now, |core| core.listed)
    }

    /// Selects every suspected healthy core for a health check, including an only core and unlisted ones with
    /// connections.
    pub(super) fn suspects(&mut self, now: Instant) -> Vec<Pick> {
        self.check_where(now, |core| core.suspected)
    }

    fn check_where(&mut self, now: Instant, which: impl Fn(&Core) -> bool) -> Vec<Pick> {
        let is_due = |core: &Core| core.health == Health::Healthy && which(core);
        let indices: Vec<usize> = (0..self.known.len()).filter(|&index| is_due(&self.known[index])).collect();
        let check = |index: usize| {
            (self.known[index].suspected, self.known[index].checked) = (false, Some(now));
            self.assign(index, &[])
        };
        indices.into_iter().map(check).collect()
    }

    /// Marks the core as suspected by a connection that has waited too long. Returns true if the probe loop must run at
    /// once: not if the core was just checked, so that many clients waiting for a database cost one check.
    pub(super) fn suspect(&mut self, address: SocketAddr, role: Role, now: Instant) -> bool {
        let Some(core) = self.known.iter_mut().find(|core| core.address == address) else { return false };
        match (role, core.health) {
            (_, Health::Healthy) => {
                let is_new = core.checked.is_none_or(|checked| checked + SUSPICION_PAUSE <= now);
                core.suspected |= is_new;
                is_new
            }
            // A client's connection that decides nothing must not block the gateway's own probe.
            (Role::Probe, Health::Probed { failures }) => {
                core.health = Health::Ejected { until: now, failures };
                true
            }
            _ => false,
        }
    }

    /// Returns the time of the next probe, if any core is ejected.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        let until = |core: &Core| match core.health {
            Health::Ejected { until, .. } if core.listed => Some(until),
            Health::Ejected { .. } | Health::Healthy | Health::Probed { .. } => None,
        };
        self.known.iter().filter_map(until).min()
    }

    /// Returns true if the core at `address` is ejected and another one is healthy.
    pub(super) fn has_better_than(&self, address: SocketAddr) -> bool {
        let healthy = |core: &Core| core.health == Health::Healthy;
        let is_ejected = self.known.iter().any(|core| core.address == address && !healthy(core));
        is_ejected && self.known.iter().any(|core| core.listed && healthy(core))
    }

    fn assign(&mut self, index: usize, tried: &[SocketAddr]) -> Pick {
        let core = &mut self.known[index];
        core.open += 1;
        let (address, role) = (core.address, core.health.role());
        if let Health::Ejected { failures, .. } = core.health {
            core.health = Health::Probed { failures };
        }
        Pick { address, role, remaining: self.remaining(tried, address) }
    }

    /// Records a failed or immediately lost connection. Returns the ejection if this caused or extended one.
    pub(super) fn mark_failed(&mut self, address: SocketAddr, role: Role, now: Instant) -> Option<Ejection> {
        let index = self.known.iter().position(|core| core.address == address)?;
        self.known[index].failed += 1;
        let failures = match (role, self.known[index].health) {
            (Role::Regular, Health::Healthy) => 1,
            (Role::Probe, Health::Probed { failures }) => failures.saturating_add(1),
            // Already reported by another connection, or about to be by the probe.
            (Role::Regular | Role::Probe | Role::Extra, _) => return None,
        };
        let retry_in = longest_ejection(failures).mul_f64(0.5 + self.rng.f64() / 2.0);
        self.known[index].health = Health::Ejected { until: now + retry_in, failures };
        Some(Ejection { failures, retry_in })
    }

    /// Records that the core has replied. Returns true if this restores it: a regular connection does not, since it may
    /// predate the failure.
    pub(super) fn mark_healthy(&mut self, address: SocketAddr, role: Role) -> bool {
        let Some(core) = self.known.iter_mut().find(|core| core.address == address) else { return false };
        core.has_worked = true;
        let back = core.health != Health::Healthy && role != Role::Regular;
        if back {
            core.health = Health::Healthy;
        }
        back
    }

    /// Ends a connection. An undecided probe is due again at once.
    pub(super) fn release(&mut self, address: SocketAddr, role: Role, now: Instant) {
        let Some(core) = self.known.iter_mut().find(|core| core.address == address) else { return };
        core.open = core.open.saturating_sub(1);
        if let (Role::Probe, Health::Probed { failures }) = (role, core.health) {
            core.health = Health::Ejected { until: now, failures };
        }
        if !core.listed {
            self.remove_unlisted();
        }
    }

    /// Returns the best candidate: the one due first, then the one with the fewest connections, then a random one.
    fn best(&mut self, tried: &[SocketAddr], may: impl Fn(&Core) -> bool) -> Option<usize> {
        let candidates = self.known.iter().enumerate().filter(|(_, core)| core.is_candidate(tried) && may(core));
        let (rng, mut equals) = (&mut self.rng, 0_usize);
        let mut best: Option<(usize, &Core)> = None;
        for (index, core) in candidates {
            match best.map(|(_, best)| core.rank().cmp(&best.rank())) {
                Some(Ordering::Greater) => continue,
                Some(Ordering::Equal) => equals += 1,
                Some(Ordering::Less) | None => equals = 1,
            }
            // Reservoir sampling: each of n equals is chosen with probability 1/n.
            if rng.usize(..equals) == 0 {
                best = Some((index, core));
            }
        }
        best.map(|(index, _)| index)
    }

    fn remaining(&self, tried: &[SocketAddr], taken: SocketAddr) -> Remaining {
        let mut left = Remaining::None;
        for core in self.known.iter().filter(|core| core.is_candidate(tried) && core.address != taken) {
            if core.health == Health::Healthy {
                return Remaining::Healthy;
            }
            left = Remaining::Ejected;
        }
        left
    }

    fn remove_unlisted(&mut self) {
        self.known.retain(|core| core.listed || 0 < core.open);
    }
}

impl Core {
    fn new(address: SocketAddr, dual: bool) -> Self {
        Self {
            address,
            open: 0,
            failed: 0,
            has_worked: false,
            dual,
            health: Health::Healthy,
            suspected: false,
            checked: None,
            listed: true,
        }
    }

    fn is_candidate(&self, tried: &[SocketAddr]) -> bool {
        self.listed && !tried.contains(&self.address)
    }

    /// Sort key, lower is better. Healthy cores have no due time; one that is being probed comes last.
    fn rank(&self) -> (bool, Option<Instant>, usize) {
        match self.health {
            Health::Healthy => (false, None, self.open),
            Health::Ejected { until, .. } => (false, Some(until), self.open),
            Health::Probed { .. } => (true, None, self.open),
        }
    }
}

impl Health {
    /// Returns the role of a new connection to a core of this health.
    fn role(self) -> Role {
        match self {
            Self::Healthy => Role::Regular,
            Self::Ejected { .. } => Role::Probe,
            Self::Probed { .. } => Role::Extra,
        }
    }
}

/// Returns the longest ejection. Half of it is jitter, so that gateways do not all probe at the same moment.
fn longest_ejection(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    FIRST_EJECTION.saturating_mul(1 << doublings).min(LONGEST_EJECTION)
}
