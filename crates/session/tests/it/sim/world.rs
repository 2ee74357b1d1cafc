//! The world of one seed: clock, agenda, faults, and everything that lives in it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use fastrand::Rng;
use protocol::Timestamp;
use session::Now;

use super::client::Client;
use super::cluster::Cluster;
use super::connection::Connection;
use super::owner::Core;
use super::profile::{Faults, Profile};
use super::store::Store;

/// Wall clock at the start.
const EPOCH_MS: i64 = 1_790_000_000_000;
/// Time after the last fault in which everything must come to rest: silent cores expire after four ticks.
const REST_MS: u64 = 100_000;
/// Events of a run that is not stuck.
const MAX_EVENTS: u64 = 200_000;
/// Most steps in the report of a failure.
const REPORTED_STEPS: usize = 400;

type Event = Box<dyn FnOnce(&mut World)>;

/// Everything in one thread, decided by one seed.
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) profile: Profile,
    pub(super) now_ms: u64,
    start: Instant,
    agenda: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    pub(super) store: Store,
    pub(super) cluster: Cluster,
    pub(super) cores: Vec<Core>,
    pub(super) clients: Vec<Client>,
    pub(super) connections: Vec<Connection>,
    pub(super) is_healed: bool,
    /// Numbers of claims, turns and identifiers of cores.
    next_number: u64,
    /// Steps so far, while they are recorded.
    steps: Option<Vec<String>>,
    violation: Option<String>,
}

impl World {
    pub(super) fn new(faults: Faults, seed: u64, is_recorded: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let profile = Profile::random(faults, &mut rng);
        let mut world = Self {
            rng,
            faults,
            profile,
            now_ms: 0,
            start: Instant::now(),
            agenda: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            store: Store::default(),
            cluster: Cluster::default(),
            cores: Vec::new(),
            clients: Vec::new(),
            connections: Vec::new(),
            is_healed: false,
            next_number: 0,
            steps: is_recorded.then(Vec::new),
            violation: None,
        };
        world.note(|| format!("{profile:?}"));
        for core in 0..profile.cores {
            let core = Core::new(core, profile.cores);
            world.cores.push(core);
        }
        for core in 0..profile.cores {
            world.connect_link(core);
            world.tick_later(core);
        }
        for client in 0..profile.clients {
            world.clients.push(Client::new(profile.messages));
            world.act_later(client);
        }
        world.fault_later();
        world
    }

    /// Runs to rest. Returns the violation, with the last steps if they are recorded.
    pub(super) fn run(mut self) -> Result<(), String> {
        let mut left = MAX_EVENTS;
        let end = self.profile.healed_at_ms + REST_MS;
        while self.violation.is_none()
            && let Some(Reverse((at, number))) = self.agenda.pop()
            && at <= end
        {
            if self.profile.healed_at_ms <= at && !self.is_healed {
                self.now_ms = self.profile.healed_at_ms;
                self.heal();
            }
            self.now_ms = at;
            if let Some(event) = self.events.remove(&number) {
                event(&mut self);
            }
            left -= 1;
            if left == 0 {
                self.fail(|| "the machines do not come to rest".into());
            }
        }
        self.now_ms = end;
        if self.violation.is_none() {
            self.check_rest();
        }
        let Some(mut report) = self.violation.take() else {
            return Ok(());
        };
        if let Some(steps) = &self.steps {
            steps.iter().skip(steps.len().saturating_sub(REPORTED_STEPS)).for_each(|step| {
                let _ = write!(report, "\n{step}");
            });
        }
        Err(report)
    }

    // ---- time -----------------------------------------------------------------------------------

    pub(super) fn now(&self) -> Now {
        let instant = self.start + Duration::from_millis(self.now_ms);
        Now { instant, wall: self.wall() }
    }

    pub(super) fn wall(&self) -> Timestamp {
        Timestamp::from_unix_ms(EPOCH_MS + i64::try_from(self.now_ms).unwrap())
    }

    pub(super) fn ms_until(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.now().instant).as_nanos();
        u64::try_from(nanos.div_ceil(1_000_000)).unwrap()
    }

    /// Schedules `event` in `delay_ms`. Events of one time happen in the order of their scheduling.
    pub(super) fn after(&mut self, delay_ms: u64, event: impl FnOnce(&mut World) + 'static) {
        self.next_event += 1;
        self.agenda.push(Reverse((self.now_ms + delay_ms, self.next_event)));
        self.events.insert(self.next_event, Box::new(event));
    }

    /// Schedules `event` for the session that is live on `core` now.
    pub(super) fn for_session(&mut self, core: usize, delay_ms: u64, event: impl FnOnce(&mut World) + 'static) {
        let life = self.cores[core].life;
        self.after(delay_ms, move |world| {
            if world.cores[core].life == life {
                event(world);
            }
        });
    }

    /// Duration of one step outside the machines.
    pub(super) fn latency(&mut self) -> u64 {
        let is_slow = self.is_fault(self.profile.slow_per_mille);
        let longest = match (self.is_healed, is_slow) {
            (true, _) => 6,
            (false, true) => 2_500,
            (false, false) => self.profile.latency_ms,
        };
        self.rng.u64(0..=longest)
    }

    /// Returns true in so many of 1,000 cases, as long as there are faults.
    pub(super) fn is_fault(&mut self, per_mille: u64) -> bool {
        !self.is_healed && self.rng.u64(..1_000) < per_mille
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    // ---- reports --------------------------------------------------------------------------------

    pub(super) fn note(&mut self, step: impl FnOnce() -> String) {
        let now_ms = self.now_ms;
        if let Some(steps) = &mut self.steps {
            steps.push(format!("{now_ms:>7} {}", step()));
        }
    }

    /// Records a violation; the first one ends the run.
    pub(super) fn fail(&mut self, violation: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let violation = format!("at {} ms: {}", self.now_ms, violation());
            self.note(|| violation.clone());
            self.violation = Some(violation);
        }
    }

    pub(super) fn require(&mut self, holds: bool, rule: impl FnOnce() -> String) {
        if !holds {
            self.fail(rule);
        }
    }

    // ---- faults ---------------------------------------------------------------------------------

    fn fault_later(&mut self) {
        let delay = self.rng.u64(20..=self.profile.fault_interval_ms);
        self.after(delay, |world| {
            if !world.is_healed {
                world.fault();
                world.fault_later();
            }
        });
    }

    fn fault(&mut self) {
        let core = self.rng.usize(..self.cores.len());
        match self.profile.random_fault(&mut self.rng) {
            Some(Fault::Death) => self.kill(core),
            Some(Fault::Drain) => self.drain(core),
            Some(Fault::Partition) => self.break_link(core),
            Some(Fault::Outage) => {
                self.note(|| "store down".into());
                self.store.is_down = true;
                let delay = self.rng.u64(20..=5_000);
                self.after(delay, |world| {
                    world.note(|| "store up".into());
                    world.store.is_down = false;
                });
            }
            Some(Fault::Cut) => {
                let connection = self.rng.usize(..self.connections.len().max(1));
                self.cut(connection);
            }
            None => {}
        }
    }

    fn heal(&mut self) {
        self.note(|| "healed".into());
        self.is_healed = true;
        self.store.is_down = false;
        for core in 0..self.cores.len() {
            self.boot(core);
            self.connect_link(core);
        }
        for client in 0..self.clients.len() {
            self.reconnect_soon(client);
        }
    }

    fn tick_later(&mut self, core: usize) {
        let delay = if self.now_ms == 0 { self.rng.u64(..15_000) } else { 15_000 };
        self.after(delay, move |world| {
            let is_connected = world.cores[core].link.is_connected;
            world.feed(core, session::Input::Tick { is_connected });
            world.tick_later(core);
        });
    }
}

/// Fault outside the machines.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// A core is killed.
    Death,
    /// A core goes away in order.
    Drain,
    /// A core loses the cluster.
    Partition,
    /// The store is unavailable.
    Outage,
    /// A connection is cut.
    Cut,
}
