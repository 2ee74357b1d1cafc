//! Kind of world, decided by the seed: sizes, and how much goes wrong.

use fastrand::Rng;

use super::world::Fault;

/// Parameters of a world.
#[derive(Debug, Clone, Copy)]
pub(super) struct Profile {
    pub(super) cores: usize,
    pub(super) clients: usize,
    /// Messages of each client.
    pub(super) messages: u32,
    /// Time after which nothing goes wrong.
    pub(super) healed_at_ms: u64,
    pub(super) fault_interval_ms: u64,
    /// Longest duration of most steps outside the machines.
    pub(super) latency_ms: u64,
    /// Steps outside the machines that take seconds.
    pub(super) slow_per_mille: u64,
    /// Deaths of a core between two effects.
    pub(super) death_per_mille: u64,
    /// Published events that are lost.
    pub(super) drop_per_mille: u64,
    /// Published events that arrive twice.
    pub(super) duplicate_per_mille: u64,
    /// Operations on the store whose reply is lost.
    pub(super) lost_reply_per_mille: u64,
    /// Admissions that a limit rejects.
    pub(super) limited_per_mille: u64,
    /// Weights of death, drain, partition, outage and cut.
    weights: [u64; 5],
    /// Actions of clients other than messages: stop, choice, cut, half-close.
    pub(super) other_actions_percent: u64,
    /// Messages in risk.
    pub(super) risk_percent: u64,
    pub(super) has_erasure: bool,
    /// Longest time between two texts of the model: in slow answers more happens meanwhile.
    pub(super) delta_interval_ms: u64,
    /// Longest time between two actions of a client.
    pub(super) action_interval_ms: u64,
}

/// Class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Faults {
    /// None: only clients come and go.
    Absent,
    /// Cores die, between any two effects, and start again.
    Deaths,
    /// Cores lose the cluster, and events on their way.
    Partitions,
    /// The store is away, or its replies are lost.
    Outages,
    /// All of these.
    Mixed,
}

impl Profile {
    pub(super) fn random(faults: Faults, rng: &mut Rng) -> Self {
        let of = |classes: &[Faults]| faults == Faults::Mixed || classes.contains(&faults);
        let mut some = |is_possible: bool, most: u64| {
            if is_possible && rng.bool() { rng.u64(..=most) } else { 0 }
        };
        let (dies, parts, stores) = (of(&[Faults::Deaths]), of(&[Faults::Partitions]), of(&[Faults::Outages]));
        let (any, always) = (faults != Faults::Absent, true);
        let draft = Self {
            slow_per_mille: some(any, 40),
            death_per_mille: some(dies, 8),
            drop_per_mille: some(parts, 30),
            duplicate_per_mille: some(parts, 30),
            lost_reply_per_mille: some(stores, 60),
            limited_per_mille: some(any, 100),
            weights: [some(dies, 4), some(dies, 2), some(parts, 4), some(stores, 4), some(any, 4)],
            other_actions_percent: some(always, 60),
            risk_percent: some(always, 50),
            cores: 2,
            clients: 2,
            messages: 4,
            healed_at_ms: 0,
            fault_interval_ms: 0,
            has_erasure: false,
            delta_interval_ms: 0,
            action_interval_ms: 0,
            latency_ms: 0,
        };
        Self {
            cores: if rng.u8(..4) == 0 { 3 } else { 2 },
            clients: rng.usize(1..=4),
            messages: rng.u32(1..=5),
            healed_at_ms: rng.u64(500..=12_000),
            fault_interval_ms: rng.u64(100..=3_000),
            has_erasure: rng.u8(..12) == 0,
            delta_interval_ms: [20, 400, 2_000][rng.usize(..3)],
            action_interval_ms: [200, 1_200][rng.usize(..2)],
            latency_ms: [6, 6, 60, 400][rng.usize(..4)],
            ..draft
        }
    }

    pub(super) fn random_fault(&self, rng: &mut Rng) -> Option<Fault> {
        let all = self.weights.iter().sum::<u64>();
        let mut at = rng.u64(..all.max(1));
        let faults = [Fault::Death, Fault::Drain, Fault::Partition, Fault::Outage, Fault::Cut];
        for (fault, weight) in faults.into_iter().zip(self.weights) {
            if at < weight {
                return Some(fault);
            }
            at -= weight;
        }
        None
    }
}
