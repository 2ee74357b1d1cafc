use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], number))
}

fn addresses(numbers: impl IntoIterator<Item = u16>) -> Vec<SocketAddr> {
    numbers.into_iter().map(address).collect()
}

fn listed(numbers: impl IntoIterator<Item = u16>) -> Vec<Listed> {
    numbers.into_iter().map(|number| Listed { address: address(number), dual: false }).collect()
}

fn cores(count: u16) -> CoreSelector {
    let mut cores = CoreSelector::new(fastrand::Rng::with_seed(7));
    assert!(cores.set_listed(&listed(0..count)));
    cores
}

/// Returns number, role and remaining alternatives.
fn pick(cores: &mut CoreSelector, tried: &[u16]) -> Option<(u16, Role, Remaining)> {
    let pick = cores.pick(&addresses(tried.iter().copied()))?;
    Some((pick.address.port(), pick.role, pick.remaining))
}

/// Returns the number of the probed core, if one is due.
fn probe(cores: &mut CoreSelector, now: Instant) -> Option<u16> {
    let pick = cores.probe(now)?;
    assert_eq!(pick.role, Role::Probe);
    Some(pick.address.port())
}

/// Returns numbers and roles.
fn checked(picks: &[Pick]) -> Vec<(u16, Role)> {
    picks.iter().map(|pick| (pick.address.port(), pick.role)).collect()
}

#[test]
fn balances_connections_evenly() {
    let mut first = [0; 3];
    for seed in 0..60 {
        let mut cores = CoreSelector::new(fastrand::Rng::with_seed(seed));
        cores.set_listed(&listed(0..3));
        first[usize::from(pick(&mut cores, &[]).unwrap().0)] += 1;
        for _ in 1..60 {
            pick(&mut cores, &[]).unwrap();
        }
        assert!(cores.known.iter().all(|core| core.open == 20), "{cores:?}");
    }
    assert!(first.iter().all(|&times| 10 < times), "equals have equal chances: {first:?}");
}

#[test]
fn selects_the_core_with_the_fewest_connections() {
    let (now, mut cores) = (Instant::now(), cores(2));
    let (one, _, left) = pick(&mut cores, &[]).unwrap();
    let (other, ..) = pick(&mut cores, &[]).unwrap();
    assert_eq!((one + other, left), (1, Remaining::Healthy));
    cores.release(address(one), Role::Regular, now);
    assert_eq!(pick(&mut cores, &[]), Some((one, Role::Regular, Remaining::Healthy)));
    assert_eq!(pick(&mut cores, &[one]), Some((other, Role::Regular, Remaining::None)));
    assert_eq!(pick(&mut cores, &[one, other]), None);
}

/// One event after the other.
#[test]
fn ejects_with_exponential_backoff_and_restores() {
    let start = Instant::now();
    let (mut cores, core) = (cores(2), address(0));
    // The other core has more connections, so that this one is always preferred.
    for _ in 0..9 {
        cores.pick(&[core]).unwrap();
    }
    assert_eq!(pick(&mut cores, &[]), Some((0, Role::Regular, Remaining::Healthy)));
    assert_eq!(pick(&mut cores, &[]), Some((0, Role::Regular, Remaining::Healthy)));
    let first = cores.mark_failed(core, Role::Regular, start).unwrap();
    assert_eq!(first.failures, 1);
    assert_eq!(cores.mark_failed(core, Role::Regular, start), None, "it is ejected already");
    assert!(!cores.mark_healthy(core, Role::Regular), "it was made before the core failed");
    assert_eq!((pick(&mut cores, &[]).unwrap().0, probe(&mut cores, start)), (1, None), "not due");

    let mut now = start + first.retry_in;
    for failures in 2..40 {
        assert_eq!(cores.next_probe(), Some(now));
        assert_eq!(pick(&mut cores, &[]).unwrap().0, 1, "due, and people stay away from it");
        assert_eq!(probe(&mut cores, now), Some(0));
        assert_eq!((probe(&mut cores, now), cores.next_probe()), (None, None), "one probe at a time");
        cores.release(core, Role::Probe, now);
        assert_eq!(probe(&mut cores, now), Some(0), "undecided: due at once");
        assert_eq!(cores.mark_failed(core, Role::Extra, now), None, "only the probe decides");
        let again = cores.mark_failed(core, Role::Probe, now).unwrap();
        cores.release(core, Role::Extra, now);
        let longest = Duration::from_secs(30).min(Duration::from_secs(1) * 2_u32.pow((failures - 1).min(9)));
        assert_eq!(again.failures, failures);
        assert!(longest / 2 <= again.retry_in && again.retry_in <= longest, "{again:?}");
        now += again.retry_in;
    }
    assert_eq!(probe(&mut cores, now), Some(0));
    assert!(cores.mark_healthy(core, Role::Probe));
    assert_eq!(pick(&mut cores, &[]), Some((0, Role::Regular, Remaining::Healthy)));
    assert_eq!(cores.mark_failed(core, Role::Regular, now).unwrap().failures, 1, "success has reset the count");
}

#[test]
fn checks_healthy_cores_unless_alone() {
    let now = Instant::now();
    assert!(cores(1).check(now).is_empty(), "nothing would come of it");
    let mut cores = cores(3);
    cores.mark_failed(address(1), Role::Regular, now);
    assert_eq!(checked(&cores.check(now)), [(0, Role::Regular), (2, Role::Regular)]);
    assert!(!cores.has_better_than(address(0)), "it is healthy");
    assert!(cores.has_better_than(address(1)));
    cores.mark_failed(address(2), Role::Regular, now);
    cores.mark_failed(address(0), Role::Regular, now);
    assert!(!cores.has_better_than(address(1)), "none is better");
}

#[test]
fn checks_suspected_cores_at_most_once_a_second() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut cores = cores(1);
    assert!(cores.suspects(start).is_empty());
    for _ in 0..9 {
        assert!(cores.suspect(address(0), Role::Regular, start));
    }
    assert_eq!(checked(&cores.suspects(start)), [(0, Role::Regular)], "also where it is alone");
    assert!(cores.suspects(start).is_empty(), "all those are one check");
    assert!(!cores.suspect(address(0), Role::Regular, at(900)), "just checked");
    assert!(cores.suspects(at(900)).is_empty());
    assert!(cores.suspect(address(0), Role::Extra, at(1_000)));
    assert!(!cores.usage()[0].ejected);
    // An unlisted core that still has connections.
    cores.set_listed(&listed([1, 2]));
    assert_eq!(checked(&cores.suspects(at(1_000))), [(0, Role::Regular)]);
    // A regular check counts as well; an ejected core is probed at its own time.
    assert_eq!(cores.check(at(2_000)).len(), 2);
    assert!(!cores.suspect(address(1), Role::Regular, at(2_500)));
    cores.mark_failed(address(1), Role::Regular, at(2_500)).unwrap();
    assert!(!cores.suspect(address(1), Role::Regular, at(9_000)));
    assert!(cores.suspects(at(9_000)).is_empty());
    assert!(!cores.suspect(address(7), Role::Regular, at(9_000)), "unknown");
}

#[test]
fn releases_the_probe_of_a_silent_client() {
    let (now, mut cores, core) = (Instant::now(), cores(1), address(0));
    cores.mark_failed(core, Role::Regular, now).unwrap();
    assert_eq!(pick(&mut cores, &[]).unwrap().1, Role::Probe);
    assert_eq!(cores.next_probe(), None);
    assert!(!cores.suspect(core, Role::Extra, now), "it does not decide");
    assert!(cores.suspect(core, Role::Probe, now));
    assert_eq!((cores.next_probe(), probe(&mut cores, now)), (Some(now), Some(0)));
    cores.release(core, Role::Extra, now);
    assert_eq!(cores.mark_failed(core, Role::Probe, now).unwrap().failures, 2, "counted once");
}

#[test]
fn reports_unserved_address_family_as_absent() {
    let (now, one, other) = (Instant::now(), address(0), address(1));
    let mut cores = CoreSelector::new(fastrand::Rng::with_seed(7));
    cores.set_listed(&[Listed { address: one, dual: true }, Listed { address: other, dual: true }]);
    cores.mark_healthy(one, Role::Regular);
    cores.mark_failed(other, Role::Regular, now);
    let absent = |cores: &CoreSelector| cores.usage().iter().map(|core| core.absent).collect::<Vec<_>>();
    assert_eq!(absent(&cores), [false, true]);
    probe(&mut cores, now + LONGEST_EJECTION).unwrap();
    cores.mark_healthy(other, Role::Probe);
    cores.mark_failed(other, Role::Regular, now);
    assert_eq!(absent(&cores), [false, false], "it has worked: now it is away");
}

#[test]
fn falls_back_to_ejected_cores() {
    let (now, mut cores) = (Instant::now(), cores(3));
    for number in 0..3 {
        cores.mark_failed(address(number), Role::Regular, now).unwrap();
    }
    let until = |core: &Core| match core.health {
        Health::Ejected { until, .. } => until,
        other => panic!("{other:?}"),
    };
    let mut due: Vec<_> = cores.known.iter().map(|core| (until(core), core.address.port())).collect();
    due.sort_unstable();
    // In order of due time, although none is due; then the ones that are being probed.
    for (_, number) in &due {
        let (picked, role, left) = pick(&mut cores, &[]).unwrap();
        assert_eq!((picked, role, left), (*number, Role::Probe, Remaining::Ejected));
    }
    for _ in 0..6 {
        assert_eq!(pick(&mut cores, &[]).unwrap().1, Role::Extra);
    }
    assert!(cores.known.iter().all(|core| core.open == 3), "{cores:?}");
    assert!(!cores.mark_healthy(address(1), Role::Regular), "it may have been made before");
    assert!(cores.mark_healthy(address(1), Role::Extra), "it has answered after all");
    assert_eq!(pick(&mut cores, &[]), Some((1, Role::Regular, Remaining::Ejected)));
}

#[test]
fn unlisted_cores_keep_their_connections() {
    let (now, mut cores) = (Instant::now(), cores(1));
    pick(&mut cores, &[]).unwrap();
    assert!(cores.set_listed(&listed([1])));
    assert!(!cores.set_listed(&listed([1])), "nothing new");
    assert_eq!((cores.listed_count(), cores.known.len()), (1, 2));
    assert_eq!(pick(&mut cores, &[]), Some((1, Role::Regular, Remaining::None)));
    // Listed again meanwhile, it still has its connections.
    assert!(cores.set_listed(&listed([0, 1])));
    assert!(cores.known.iter().all(|core| core.open == 1), "{cores:?}");
    assert!(cores.set_listed(&listed([1])));
    cores.release(address(0), Role::Regular, now);
    assert_eq!(cores.known.len(), 1);
    cores.mark_failed(address(0), Role::Regular, now);
    cores.release(address(0), Role::Regular, now);
    assert!(!cores.mark_healthy(address(0), Role::Extra));
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    List(u8),
    Pick { tried: u8 },
    Probe,
    End { which: usize, outcome: Outcome },
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Failed,
    Healthy,
    Undecided,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u64..20_000).prop_map(Step::Wait),
        (1u8..16).prop_map(Step::List),
        prop_oneof![3 => Just(0u8), 1 => 0u8..16].prop_map(|tried| Step::Pick { tried }),
        Just(Step::Probe),
        (any::<usize>(), prop_oneof![Just(Outcome::Failed), Just(Outcome::Healthy), Just(Outcome::Undecided)])
            .prop_map(|(which, outcome)| Step::End { which, outcome }),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    number: u16,
    role: Role,
}

/// Reference model: the properties of each core, without the selection algorithm.
#[derive(Debug, Default)]
struct Model {
    listed: Vec<u16>,
    /// Open connections.
    connections: Vec<Connection>,
    /// Ejected cores: failures and due time.
    ejected: HashMap<u16, (u32, Instant)>,
    /// Ejected cores with a probe out.
    probed: Vec<u16>,
}

impl Model {
    fn open(&self, number: u16) -> usize {
        self.connections.iter().filter(|connection| connection.number == number).count()
    }

    fn is_probed(&self, number: u16) -> bool {
        self.probed.contains(&number)
    }

    fn picked(&mut self, number: u16, role: Role) {
        self.connections.push(Connection { number, role });
        if role == Role::Probe {
            self.probed.push(number);
        }
    }

    /// Ends the probe of a core; returns true if there was one.
    fn decide(&mut self, number: u16) -> bool {
        let before = self.probed.len();
        self.probed.retain(|probed| *probed != number);
        self.probed.len() < before
    }

    fn check_pick(&self, tried: &[u16], got: Option<(u16, Role, Remaining)>) {
        let left: Vec<u16> = self.listed.iter().copied().filter(|number| !tried.contains(number)).collect();
        let Some((picked, role, _)) = got else { return assert!(left.is_empty(), "refused, though {left:?} are left") };
        assert!(left.contains(&picked), "{picked} of {left:?}");
        let healthy: Vec<u16> = left.iter().copied().filter(|number| !self.ejected.contains_key(number)).collect();
        let waiting = left.iter().filter(|number| !self.is_probed(**number)).map(|number| self.ejected.get(number));
        if let Some(fewest) = healthy.iter().map(|number| self.open(*number)).min() {
            assert_eq!((role, self.open(picked)), (Role::Regular, fewest));
            assert!(healthy.contains(&picked));
        } else if let Some(until) = waiting.flatten().map(|ejected| ejected.1).min() {
            assert_eq!((role, self.ejected[&picked].1), (Role::Probe, until));
        } else {
            assert_eq!(role, Role::Extra);
        }
    }

    fn check_probe(&self, got: Option<u16>, now: Instant) {
        let due = self.listed.iter().filter(|number| !self.is_probed(**number));
        let soonest = due.filter_map(|number| self.ejected.get(number)).map(|ejected| ejected.1).min();
        assert_eq!(got.map(|number| self.ejected[&number].1), soonest.filter(|until| *until <= now));
    }

    /// Returns the expected number of failures if this outcome ejects the core.
    fn failures(&self, number: u16, role: Role) -> Option<u32> {
        match (role, self.ejected.get(&number)) {
            (Role::Regular, None) => Some(1),
            (Role::Probe, Some((failures, _))) if self.is_probed(number) => Some(failures + 1),
            _ => None,
        }
    }

    fn forget(&mut self) {
        let known: Vec<u16> = self.ejected.keys().copied().collect();
        for number in known {
            if !self.listed.contains(&number) && self.open(number) == 0 {
                self.ejected.remove(&number);
                self.decide(number);
            }
        }
    }
}

fn bits(set: u8) -> Vec<u16> {
    (0..8).filter(|bit| set & (1 << bit) != 0).collect()
}

fn end(cores: &mut CoreSelector, model: &mut Model, connection: Connection, outcome: Outcome, now: Instant) {
    let Connection { number, role } = connection;
    let mut role_left = role;
    match outcome {
        Outcome::Failed => {
            let (want, got) = (model.failures(number, role), cores.mark_failed(address(number), role, now));
            assert_eq!(got.map(|ejection| ejection.failures), want);
            if let Some(Ejection { failures, retry_in }) = got {
                assert!(retry_in.as_secs_f64() <= f64::from(failures - 1).exp2().min(30.0));
                model.ejected.insert(number, (failures, now + retry_in));
                model.decide(number);
            }
        }
        Outcome::Healthy => {
            let back = cores.mark_healthy(address(number), role);
            assert_eq!(back, role != Role::Regular && model.ejected.remove(&number).is_some());
            if back {
                model.decide(number);
            }
            role_left = Role::Regular;
        }
        Outcome::Undecided => {
            if role == Role::Probe
                && model.decide(number)
                && let Some(ejected) = model.ejected.get_mut(&number)
            {
                ejected.1 = now;
            }
        }
    }
    cores.release(address(number), role_left, now);
}

proptest! {
    #[test]
    fn selection_matches_model(steps in proptest::collection::vec(step(), 1..200), seed: u64) {
        let mut now = Instant::now();
        let mut cores = CoreSelector::new(fastrand::Rng::with_seed(seed));
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::List(set) => {
                    model.listed = bits(set);
                    cores.set_listed(&listed(bits(set)));
                }
                Step::Pick { tried } => {
                    let got = pick(&mut cores, &bits(tried));
                    model.check_pick(&bits(tried), got);
                    if let Some((number, role, _)) = got {
                        model.picked(number, role);
                    }
                }
                Step::Probe => {
                    let got = probe(&mut cores, now);
                    model.check_probe(got, now);
                    if let Some(number) = got {
                        model.picked(number, Role::Probe);
                    }
                }
                Step::End { which, outcome } if !model.connections.is_empty() => {
                    let connection = model.connections.swap_remove(which % model.connections.len());
                    end(&mut cores, &mut model, connection, outcome, now);
                }
                Step::End { .. } => {}
            }
            model.forget();
            for core in &cores.known {
                prop_assert_eq!(core.open, model.open(core.address.port()));
            }
            let open: usize = cores.known.iter().map(|core| core.open).sum();
            prop_assert_eq!(open, model.connections.len(), "no connection is forgotten");
        }
    }
}
