//! Which core the next connection goes to: a state machine without sockets and without a clock.
//!
//! A connection goes to the healthy core with the fewest. A core that cannot be connected to, or connects and
//! does not answer, is *ejected* for a time that doubles with each failure. When it is over, the gateway probes
//! the core with a connection of its own; people stay away from it until it has answered. Ejecting never
//! refuses anyone: where there is no healthy core, connections go to the ejected ones.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Longest time a core is ejected for after its first failure; doubles with each further one.
const FIRST_EJECTION: Duration = Duration::from_secs(1);
/// Longest time a core is ejected for.
const LONGEST_EJECTION: Duration = Duration::from_secs(30);

/// The least time between a check of a core and one that a connection asks for.
const SUSPICION_PAUSE: Duration = Duration::from_secs(1);

/// The cores that are known, and how they are.
#[derive(Debug)]
pub(super) struct CoreSelector {
    /// Listed ones, and ones that are not listed any more but still have connections.
    known: Vec<Core>,
    rng: fastrand::Rng,
}

#[derive(Debug)]
struct Core {
    address: SocketAddr,
    /// Connections, those that are being made included.
    open: usize,
    /// Connections that could not be made or were lost at once.
    failed: u64,
    /// It has sent something at least once.
    has_worked: bool,
    /// Its name has addresses of the other family too, of which a host may well serve only one.
    dual: bool,
    health: Health,
    /// A connection waits for it too long, and no check has begun since.
    suspected: bool,
    /// Begin of its last check while it was healthy.
    checked: Option<Instant>,
    /// Whether new connections may go there.
    listed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Healthy,
    Ejected {
        until: Instant,
        failures: u32,
    },
    /// One connection shows whether it is back.
    Probed {
        failures: u32,
    },
}

/// A core that new connections may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    pub(super) address: SocketAddr,
    /// Its name has addresses of the other family too.
    pub(super) dual: bool,
}

/// What a connection means for the health of its core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It goes to a healthy core, which its failure ejects.
    Regular,
    /// It decides whether its core is healthy again.
    Probe,
    /// It goes to a core that is being probed because there is no better one. Its success brings the core back,
    /// its failure decides nothing.
    Extra,
}

/// A choice. The connection counts until it is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) address: SocketAddr,
    pub(super) role: Role,
    /// What is left if this one fails.
    pub(super) remaining: Remaining,
}

/// The cores that have not been tried yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remaining {
    /// At least one of them is healthy.
    Healthy,
    /// Only such as are ejected.
    Ejected,
    None,
}

/// How a core is used at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CoreStatus {
    pub(crate) address: SocketAddr,
    /// Connections, those that are being made included.
    pub(crate) open: usize,
    /// Connections so far that could not be made or were lost at once.
    pub(crate) failed: u64,
    /// It has failed, and has not proved itself since.
    pub(crate) ejected: bool,
    /// It has never worked, and its name has addresses of the other family: its host may serve only these.
    pub(crate) absent: bool,
    /// New connections may go there.
    pub(crate) listed: bool,
}

/// A core has just been ejected, or once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ejection {
    /// Failures in a row.
    pub(super) failures: u32,
    /// Time until it is probed.
    pub(super) retry_in: Duration,
}

impl CoreSelector {
    /// None are known yet.
    pub(super) fn new(rng: fastrand::Rng) -> Self {
        Self { known: Vec::new(), rng }
    }

    /// From now on these are the cores; says whether that is new. One that is gone keeps the connections
    /// it has, and its health if it comes back before they have ended.
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

    /// How each core is used.
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

    /// How many cores new connections may go to.
    pub(super) fn listed_count(&self) -> usize {
        self.known.iter().filter(|core| core.listed).count()
    }

    /// The core for a connection that was not successful with those `tried`; `None` when these are all.
    pub(super) fn pick(&mut self, tried: &[SocketAddr]) -> Option<Pick> {
        let healthy = |core: &Core| core.health == Health::Healthy;
        let index = self.best(tried, healthy).or_else(|| self.best(tried, |_| true))?;
        Some(self.assign(index, tried))
    }

    /// A core whose ejection is over at `now`, for a connection that shows whether it is back.
    pub(super) fn probe(&mut self, now: Instant) -> Option<Pick> {
        let due = |core: &Core| matches!(core.health, Health::Ejected { until, .. } if until <= now);
        let index = self.best(&[], due)?;
        Some(self.assign(index, &[]))
    }

    /// Every healthy core, each for a connection that shows whether it still is; none where there is only one core.
    pub(super) fn check(&mut self, now: Instant) -> Vec<Pick> {
        if self.listed_count() < 2 {
            return Vec::new();
        }
        self.check_where(now, |core| core.listed)
    }

    /// Every healthy core that is suspected, each for a connection that shows whether it still works: also one that is
    /// alone, or not listed any more and has connections still.
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

    /// A connection waits for the core too long. Returns whether the core is to be checked or probed at once: not when
    /// it has just been checked, so that many who wait for a database cost no more than one.
    pub(super) fn suspect(&mut self, address: SocketAddr, role: Role, now: Instant) -> bool {
        let Some(core) = self.known.iter_mut().find(|core| core.address == address) else { return false };
        match (role, core.health) {
            (_, Health::Healthy) => {
                let is_new = core.checked.is_none_or(|checked| checked + SUSPICION_PAUSE <= now);
                core.suspected |= is_new;
                is_new
            }
            // A person's connection that decides nothing must not keep the gateway's own from deciding.
            (Role::Probe, Health::Probed { failures }) => {
                core.health = Health::Ejected { until: now, failures };
                true
            }
            _ => false,
        }
    }

    /// When the next ejection is over, if there is any.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        let until = |core: &Core| match core.health {
            Health::Ejected { until, .. } if core.listed => Some(until),
            Health::Ejected { .. } | Health::Healthy | Health::Probed { .. } => None,
        };
        self.known.iter().filter_map(until).min()
    }

    /// Whether the core at `address` is ejected, and another one is healthy.
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

    /// The connection could not be made, or was lost at once. Says so if that ejects the core.
    pub(super) fn mark_failed(&mut self, address: SocketAddr, role: Role, now: Instant) -> Option<Ejection> {
        let index = self.known.iter().position(|core| core.address == address)?;
        self.known[index].failed += 1;
        let failures = match (role, self.known[index].health) {
            (Role::Regular, Health::Healthy) => 1,
            (Role::Probe, Health::Probed { failures }) => failures.saturating_add(1),
            // Others have said so already, or are about to.
            (Role::Regular | Role::Probe | Role::Extra, _) => return None,
        };
        let retry_in = longest_ejection(failures).mul_f64(0.5 + self.rng.f64() / 2.0);
        self.known[index].health = Health::Ejected { until: now + retry_in, failures };
        Some(Ejection { failures, retry_in })
    }

    /// The connection has shown that its core works. Returns whether that brings the core back: not that of a
    /// regular connection, which may have been made before the core failed.
    pub(super) fn mark_healthy(&mut self, address: SocketAddr, role: Role) -> bool {
        let Some(core) = self.known.iter_mut().find(|core| core.address == address) else { return false };
        core.has_worked = true;
        let back = core.health != Health::Healthy && role != Role::Regular;
        if back {
            core.health = Health::Healthy;
        }
        back
    }

    /// The connection has ended. A probe that has decided nothing leaves that to the next.
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

    /// The best of those that `may` be taken: the one due soonest, then the one with the fewest
    /// connections, then any.
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
            // Each of n equals is taken with a chance of 1/n.
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

    /// Less is better. All healthy ones are due at no time; one that is being probed comes last.
    fn rank(&self) -> (bool, Option<Instant>, usize) {
        match self.health {
            Health::Healthy => (false, None, self.open),
            Health::Ejected { until, .. } => (false, Some(until), self.open),
            Health::Probed { .. } => (true, None, self.open),
        }
    }
}

impl Health {
    /// The role of a connection that finds its core like this.
    fn role(self) -> Role {
        match self {
            Self::Healthy => Role::Regular,
            Self::Ejected { .. } => Role::Probe,
            Self::Probed { .. } => Role::Extra,
        }
    }
}

/// The longest time an ejection may last; half of it is left to chance, so that gateways do not all probe at once.
fn longest_ejection(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    FIRST_EJECTION.saturating_mul(1 << doublings).min(LONGEST_EJECTION)
}
