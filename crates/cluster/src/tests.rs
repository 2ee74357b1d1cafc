//! Cluster behaviour against a real Redis.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use limits::{ConcurrencyLimiter, Priority, RateLimit};
use proptest::prelude::*;
use protocol::{MessageId, UserLabel};
use serde::{Deserialize, Serialize};
use service_runtime::metrics::{IntCounter, Registry};
use testkit::redis::Redis;
use testkit::watchdog::{LIMIT, until, within};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::keys::Keys;
use super::scripts::HEARTBEAT;
use super::*;

const WINDOW: Duration = Duration::from_secs(1_000);
const LIMITS: ClusterLimits = ClusterLimits {
    rate: RateLimit { events: 3, window: WINDOW },
    address_rate: RateLimit { events: 5, window: WINDOW },
    per_user_max: 2,
    max_in_flight: 8,
    longest_claim: Duration::from_secs(7_200),
};

fn disconnects() -> IntCounter {
    ClusterMetrics::new(&Registry::default()).redis_disconnects
}

/// Event of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum TestEvent {
    Here { connections: usize },
    Erased,
}

/// Cluster member that dies when dropped.
struct Core {
    cluster: Arc<Cluster>,
    events: mpsc::Receiver<ClusterEvent>,
    slots: Arc<ConcurrencyLimiter>,
    claims: HashMap<String, ClaimNumber>,
    life: CancellationToken,
    _task: TaskTrackerToken,
}

impl Drop for Core {
    fn drop(&mut self) {
        self.life.cancel();
    }
}

impl Core {
    async fn start(redis: &Redis) -> Self {
        let (cluster, events) =
            Cluster::new(ClusterSettings { url: redis.url().parse().unwrap(), limits: LIMITS }, disconnects());
        let slots = ConcurrencyLimiter::new(LIMITS.max_in_flight, 10, Duration::from_secs(30));
        let (life, tasks) = (CancellationToken::new(), TaskTracker::new());
        let run = {
            let (cluster, slots) = (Arc::clone(&cluster), Arc::clone(&slots));
            async move { cluster.run(&slots).await }
        };
        tasks.spawn(life.clone().run_until_cancelled_owned(run));
        let mut core = Self { cluster, events, slots, claims: HashMap::new(), life, _task: tasks.token() };
        assert!(matches!(core.next().await, ClusterEvent::Connected));
        core
    }

    async fn next(&mut self) -> ClusterEvent {
        within(LIMIT, self.events.recv()).await.unwrap().unwrap()
    }

    /// Next event that another core published.
    async fn event(&mut self) -> TestEvent {
        loop {
            if let ClusterEvent::Published(_, payload) = self.next().await {
                let Envelope { core, event } = Envelope::decode(&payload).unwrap();
                if !self.cluster.is_own_id(core) {
                    return event;
                }
            }
        }
    }

    /// Claims a message that counts as new.
    async fn claim(&mut self, id: &str, from: u8) -> ClaimOutcome {
        self.claim_as(id, counted(WindowKind::New, from)).await
    }

    async fn claim_as(&mut self, id: &str, counted: CountedAttempt) -> ClaimOutcome {
        let number = self.cluster.next_claim();
        let claimed =
            self.cluster.claim(Claim { user: USER, id: &id.parse().unwrap(), number }, counted).await.unwrap();
        if let ClaimOutcome::Granted { .. } = claimed {
            self.claims.insert(id.to_owned(), number);
        }
        claimed
    }

    async fn release(&self, id: &str) {
        self.cluster.release(Claim { user: USER, id: &id.parse().unwrap(), number: self.claims[id] }, None).await;
    }

    async fn release_stopped(&self, id: &str) {
        self.cluster.release_stopped(Claim { user: USER, id: &id.parse().unwrap(), number: self.claims[id] }).await;
    }

    async fn in_flight(&self) -> InFlight {
        self.cluster.in_flight(USER).await.unwrap()
    }
}

const USER: UserLabel = UserLabel(7);

const GRANTED: ClaimOutcome = ClaimOutcome::Granted { before: 0, was_stopped: false };

fn counted(kind: WindowKind, from: u8) -> CountedAttempt {
    CountedAttempt { kind, from: subnet(from), at: Instant::now() }
}

/// Runs a command over a connection of its own.
async fn command<T: redis::FromRedisValue>(redis: &Redis, command: &redis::Cmd) -> T {
    let client = redis::Client::open(redis.url()).unwrap();
    command.query_async(&mut client.get_multiplexed_async_connection().await.unwrap()).await.unwrap()
}

fn subnet(number: u8) -> limits::ClientSubnet {
    limits::ClientSubnet::of(IpAddr::V4(Ipv4Addr::new(203, 0, 113, number)))
}

#[tokio::test]
async fn rate_limit_windows_are_cluster_wide() {
    let redis = Redis::start_new().await.unwrap();
    let (mut a, mut b) = (Core::start(&redis).await, Core::start(&redis).await);
    for (core, id, from) in [(&mut a, "1", 1), (&mut b, "2", 1)] {
        assert_eq!(core.claim(id, from).await, GRANTED, "{id}");
        core.release(id).await;
    }
    assert_eq!(a.claim("3", 2).await, GRANTED);
    a.release("3").await;
    for core in [&mut a, &mut b] {
        let ClaimOutcome::RateLimited { wait } = core.claim("4", 2).await else { panic!("a fourth fits") };
        assert!(WINDOW - LIMIT < wait && wait <= WINDOW, "{wait:?}");
    }
    // Another person in the first subnet, which has counted two of five; one more is refunded.
    let other = UserLabel(8);
    for (number, want) in [(1, true), (2, true), (3, true), (4, true), (5, false)] {
        let (id, counted) = (format!("o{number}").parse().unwrap(), counted(WindowKind::New, 1));
        let claim = Claim { user: other, id: &id, number: b.cluster.next_claim() };
        let claimed = b.cluster.claim(claim, counted).await.unwrap();
        assert_eq!(matches!(claimed, ClaimOutcome::Granted { .. }), want, "{number}: {claimed:?}");
        b.cluster.release(claim, None).await;
        if number == 2 {
            b.cluster.refund(other, counted).await;
        }
    }
}

#[tokio::test]
async fn claim_is_exclusive_until_release_or_death() {
    let redis = Redis::start_new().await.unwrap();
    let (mut a, mut b) = (Core::start(&redis).await, Core::start(&redis).await);
    let second_of_two = ClaimOutcome::Granted { before: 1, was_stopped: false };
    assert_eq!(a.claim("first", 1).await, GRANTED);
    assert_eq!(b.claim("first", 1).await, ClaimOutcome::Held);
    assert_eq!(b.claim("second", 1).await, second_of_two);
    assert_eq!(a.claim("third", 1).await, ClaimOutcome::Busy);
    let ttl: u64 = command(&redis, redis::cmd("TTL").arg(a.cluster.keys.claims(USER))).await;
    assert!((7_000..=7_200).contains(&ttl), "as long as the settings say: {ttl}");
    let [first, second, third]: [MessageId; 3] = ["first", "second", "third"].map(|id| id.parse().unwrap());
    let in_flight = a.in_flight().await;
    assert!(in_flight.contains(&first) && in_flight.contains(&second) && !in_flight.contains(&third), "{in_flight:?}");
    assert_eq!((a.in_flight().await.is_other_cores_turn(), b.in_flight().await.is_other_cores_turn()), (false, true));
    b.release("second").await;
    assert!(!b.in_flight().await.is_other_cores_turn(), "it holds no claim");
    assert_eq!(b.claim("third", 1).await, second_of_two);
    drop(a);
    until(async || !b.in_flight().await.contains(&first)).await.unwrap();
    assert!(!b.in_flight().await.is_other_cores_turn());
    until(async || b.cluster.members() == 1).await.unwrap();
}

#[tokio::test]
async fn retry_of_a_stopped_message_counts_as_new_on_every_core() {
    let redis = Redis::start_new().await.unwrap();
    let (mut a, mut b) = (Core::start(&redis).await, Core::start(&redis).await);
    let stopped = ClaimOutcome::Granted { before: 0, was_stopped: true };
    assert_eq!(a.claim("m", 1).await, GRANTED);
    a.release_stopped("m").await;
    assert_eq!(b.claim_as("m", counted(WindowKind::Retry, 1)).await, ClaimOutcome::Stopped);
    assert_eq!(b.claim("m", 1).await, stopped);
    b.cluster.clear_stopped(USER, &"m".parse().unwrap()).await;
    b.release("m").await;
    // The last attempt ended for another reason: a retry is free of the windows of new messages.
    assert_eq!(a.claim("other", 1).await, GRANTED);
    a.release("other").await;
    assert!(matches!(a.claim("m", 1).await, ClaimOutcome::RateLimited { .. }));
    for _ in 0..LIMITS.rate.events {
        assert_eq!(a.claim_as("m", counted(WindowKind::Retry, 1)).await, GRANTED);
        a.release("m").await;
    }
    assert!(matches!(a.claim_as("m", counted(WindowKind::Retry, 1)).await, ClaimOutcome::RateLimited { .. }));
}

#[tokio::test]
async fn late_release_keeps_a_newer_claim() {
    let redis = Redis::start_new().await.unwrap();
    let (mut a, mut b) = (Core::start(&redis).await, Core::start(&redis).await);
    assert_eq!(a.claim("m", 1).await, GRANTED);
    let earlier = a.claims.clone();
    assert_eq!(a.claim("m", 1).await, GRANTED, "the earlier attempt has ended here");
    let newer = std::mem::replace(&mut a.claims, earlier);
    a.release_stopped("m").await;
    a.release("m").await;
    assert_eq!(b.claim("m", 1).await, ClaimOutcome::Held);
    a.claims = newer;
    a.release("m").await;
    assert_eq!(b.claim("m", 1).await, GRANTED, "the late release has not marked the message as stopped");
}

#[tokio::test]
async fn retries_count_in_their_own_windows_up_to_the_limit() {
    let redis = Redis::start_new().await.unwrap();
    let mut a = Core::start(&redis).await;
    for number in 0..=LIMITS.rate.events {
        let (new, again_at) = (counted(WindowKind::New, 1), Instant::now());
        assert_eq!(a.claim_as("m", new).await, GRANTED);
        let is_free = a.cluster.recount_as_retry(USER, new, again_at).await;
        assert_eq!(is_free, Some(number < LIMITS.rate.events), "{number}");
        a.release("m").await;
    }
    // The last one still counts as new.
    for (id, fits) in [("1", true), ("2", true), ("3", false)] {
        assert_eq!(a.claim(id, 1).await == GRANTED, fits, "{id}");
        if fits {
            a.release(id).await;
        }
    }
}

#[tokio::test]
async fn model_calls_are_allotted_by_need_within_the_limit() {
    let redis = Redis::start_new().await.unwrap();
    let (a, b) = (Core::start(&redis).await, Core::start(&redis).await);
    let count = |core: &Core| core.slots.load().count;
    until(async || count(&a) == 4 && count(&b) == 4).await.unwrap();
    // All load is on one core: the other keeps its minimum of one call.
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(a.slots.reserve().unwrap().acquire(Priority::Ordinary, |_| {}).await.unwrap());
    }
    let more = async {
        for _ in 0..3 {
            held.push(a.slots.reserve().unwrap().acquire(Priority::Ordinary, |_| {}).await.unwrap());
        }
    };
    within(LIMIT, more).await.unwrap();
    assert_eq!((count(&a), count(&b)), (7, 1));
    // The other needs two: it gets them as calls end.
    let _first = b.slots.reserve().unwrap().acquire(Priority::Ordinary, |_| {}).await.unwrap();
    let second = b.slots.reserve().unwrap().acquire(Priority::Ordinary, |_| {});
    let give_back = async {
        until(async || count(&a) < 7).await.unwrap();
        held.clear();
    };
    let (second, ()) = within(LIMIT, async { tokio::join!(second, give_back) }).await.unwrap();
    assert!(second.is_ok());
    drop(a);
    until(async || count(&b) == LIMITS.max_in_flight).await.unwrap();
}

#[tokio::test]
async fn published_events_arrive_in_order_and_missing_subscribers_are_reported() {
    let redis = Redis::start_new().await.unwrap();
    let (mut a, mut b) = (Core::start(&redis).await, Core::start(&redis).await);
    a.cluster.subscribe(USER);
    assert!(matches!(a.next().await, ClusterEvent::Subscribed(USER)));
    a.cluster.publish(USER, TestEvent::Erased, 41);
    let alone = loop {
        if let ClusterEvent::NoSubscribers(user, note) = a.next().await {
            break (user, note);
        }
    };
    assert_eq!(alone, (USER, 41));
    b.cluster.subscribe(USER);
    assert!(matches!(b.next().await, ClusterEvent::Subscribed(USER)));
    for connections in 0..1_000 {
        a.cluster.publish(USER, TestEvent::Here { connections }, 42);
    }
    for connections in 0..1_000 {
        assert_eq!(b.event().await, TestEvent::Here { connections });
    }
    b.cluster.unsubscribe(USER);
    let alone = async {
        loop {
            a.cluster.publish(USER, TestEvent::Erased, 43);
            if let ClusterEvent::NoSubscribers(_, note) = a.next().await {
                return note;
            }
        }
    };
    assert_eq!(within(LIMIT, alone).await.unwrap(), 43);
}

#[tokio::test]
async fn redis_outage_falls_back_to_shares_and_recovers() {
    let mut redis = Redis::start_new().await.unwrap();
    let (mut a, mut b) = (Core::start(&redis).await, Core::start(&redis).await);
    until(async || a.cluster.members() == 2 && a.slots.load().count == 4).await.unwrap();
    a.cluster.subscribe(USER);
    let kept = counted(WindowKind::New, 1);
    let id = "kept".parse().unwrap();
    let claim = Claim { user: USER, id: &id, number: a.cluster.next_claim() };
    assert_eq!(a.cluster.claim(claim, kept).await, Some(GRANTED));
    for frozen in [false, true] {
        if frozen {
            redis.freeze(true).unwrap();
        } else {
            redis.kill().await.unwrap();
        }
        // The first request may wait for its timeout, later ones must not.
        until(async || a.cluster.claim(claim, kept).await.is_none()).await.unwrap();
        until(async || !b.cluster.is_connected()).await.unwrap();
        assert_eq!(a.cluster.effective_limit(LIMITS.rate).events, 2);
        until(async || a.slots.load().count == 4).await.unwrap();
        if frozen {
            redis.freeze(false).unwrap();
        } else {
            redis.start().await.unwrap();
        }
        until(async || a.cluster.is_connected() && b.cluster.is_connected()).await.unwrap();
        assert_eq!(a.cluster.effective_limit(LIMITS.rate).events, 3);
        let rejoined = async { while !matches!(a.next().await, ClusterEvent::Subscribed(USER)) {} };
        within(LIMIT, rejoined).await.unwrap();
    }
    // Restored twice, the event counts once: two more are admitted.
    for _ in 0..2 {
        a.cluster.restore_windows(kept.kind, &[(USER, kept.at)], &[(subnet(1), kept.at)]).await;
    }
    for (id, fits) in [("1", true), ("2", true), ("3", false)] {
        assert_eq!(matches!(b.claim(id, 2).await, ClaimOutcome::Granted { .. }), fits, "{id}");
        if fits {
            b.release(id).await;
        }
    }
}

/// Many sessions, each of which publishes one event when it is subscribed, as real ones do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_sessions_than_the_queue_holds_subscribe_and_resubscribe() {
    const SESSIONS: u64 = 300;
    const QUEUE: usize = 8;
    let mut redis = Redis::start_new().await.unwrap();
    let lost = disconnects();
    let settings = ClusterSettings { url: redis.url().parse().unwrap(), limits: LIMITS };
    let (cluster, mut events) = Cluster::with_queue(settings, lost.clone(), QUEUE);
    for user in 1..=SESSIONS {
        cluster.subscribe(UserLabel(user));
    }
    let joined: Arc<Mutex<HashSet<UserLabel>>> = Arc::default();
    let (life, tasks) = (CancellationToken::new(), TaskTracker::new());
    let _end = life.clone().drop_guard();
    let consume = {
        let (cluster, joined) = (Arc::clone(&cluster), Arc::clone(&joined));
        async move {
            while let Some(events) = events.recv().await {
                match events {
                    ClusterEvent::Connected => joined.lock().unwrap().clear(),
                    ClusterEvent::Subscribed(user) => {
                        cluster.publish(user, TestEvent::Here { connections: 1 }, 1);
                        joined.lock().unwrap().insert(user);
                    }
                    ClusterEvent::Published(..) | ClusterEvent::NoSubscribers(..) => {}
                }
            }
        }
    };
    tasks.spawn(life.clone().run_until_cancelled_owned(consume));
    let run = {
        let cluster = Arc::clone(&cluster);
        let slots = ConcurrencyLimiter::new(LIMITS.max_in_flight, 10, Duration::from_secs(30));
        async move { cluster.run(&slots).await }
    };
    tasks.spawn(life.clone().run_until_cancelled_owned(run));
    for times_lost in [0, 1] {
        let all = until(async || cluster.is_connected() && joined.lock().unwrap().len() as u64 == SESSIONS).await;
        all.unwrap_or_else(|error| {
            panic!("{error}: {} of {SESSIONS}, lost {}", joined.lock().unwrap().len(), lost.get())
        });
        assert_eq!(lost.get(), times_lost, "the connection is lost while its sessions subscribe");
        if times_lost == 0 {
            redis.kill().await.unwrap();
            until(async || !cluster.is_connected()).await.unwrap();
            redis.start().await.unwrap();
        }
    }
}

#[tokio::test]
async fn shares_without_a_heartbeat_are_released() {
    let redis = Redis::start_new().await.unwrap();
    let client = redis::Client::open(redis.url()).unwrap();
    let mut client = client.get_multiplexed_async_connection().await.unwrap();
    let keys = Keys::new(0);
    let (dead, all) = (CoreId(77), LIMITS.max_in_flight);
    let _: () = redis::pipe()
        .hset(keys.shares(), dead.to_string(), format!("{all} {all}"))
        .query_async(&mut client)
        .await
        .unwrap();
    let core = Core::start(&redis).await;
    until(async || core.slots.load().count == all).await.unwrap();
    assert_eq!(core.cluster.members(), 1);
    let rows: Vec<String> = redis::cmd("HKEYS").arg(keys.shares()).query_async(&mut client).await.unwrap();
    assert!(!rows.contains(&dead.to_string()), "{rows:?}");
}

/// State of a core in the simulation of the [`HEARTBEAT`] script.
#[derive(Debug, Clone, Copy, Default)]
struct Simulated {
    calls: usize,
    waiting: usize,
    share: usize,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Turns arrive at a core.
    Come(usize, usize),
    /// Calls of a core end.
    End(usize, usize),
    /// A core sends a heartbeat.
    Beat(usize),
    /// A core reconnects under another identifier.
    Renew(usize),
}

fn steps(cores: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..cores, 0..5usize).prop_map(|(core, turns)| Step::Come(core, turns)),
        (0..cores, 0..5usize).prop_map(|(core, calls)| Step::End(core, calls)),
        (0..cores).prop_map(Step::Beat),
        (0..cores).prop_map(Step::Beat),
        (0..cores).prop_map(Step::Renew),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// In any order of arrivals, ends, heartbeats and reconnects the calls stay within the maximum. After
    /// enough heartbeats all needed calls run, except for the one that each idle core keeps.
    #[test]
    fn shares_never_exceed_the_limit_and_converge(most in 1usize..12, steps in steps(3)) {
        Runtime::new().unwrap().block_on(async {
            let redis = Redis::start_new().await.unwrap();
            let client = redis::Client::open(redis.url()).unwrap();
            let mut redis = client.get_multiplexed_async_connection().await.unwrap();
            let mut cores = [Simulated::default(); 3];
            let mut names = [1, 2, 3].map(CoreId);
            let mut heartbeat = async |core: &mut Simulated, name: CoreId, previous: CoreId| {
                let (share, _): (usize, usize) = HEARTBEAT
                    .key("cores").key("shares").arg(name).arg(previous).arg(core.calls).arg(core.waiting)
                    .arg(most).arg(10_000_000)
                    .invoke_async(&mut redis).await.unwrap();
                core.share = share;
                let begun = share.saturating_sub(core.calls).min(core.waiting);
                core.calls += begun;
                core.waiting -= begun;
            };
            for (core, name) in cores.iter_mut().zip(names) {
                heartbeat(core, name, CoreId(0)).await;
            }
            for step in steps {
                match step {
                    Step::Come(core, turns) => {
                        let core = &mut cores[core];
                        let begun = core.share.saturating_sub(core.calls).min(turns);
                        core.calls += begun;
                        core.waiting += turns - begun;
                    }
                    Step::End(core, calls) => {
                        let core = &mut cores[core];
                        core.calls -= calls.min(core.calls);
                        let begun = core.share.saturating_sub(core.calls).min(core.waiting);
                        core.calls += begun;
                        core.waiting -= begun;
                    }
                    Step::Beat(core) => heartbeat(&mut cores[core], names[core], CoreId(0)).await,
                    Step::Renew(core) => {
                        let previous = names[core];
                        names[core] = CoreId(previous.0 + 10);
                        heartbeat(&mut cores[core], names[core], previous).await;
                    }
                }
                let calls: usize = cores.iter().map(|core| core.calls).sum();
                prop_assert!(calls <= most, "{calls} of {most}: {cores:?}");
            }
            for _ in 0..4 {
                for (core, name) in cores.iter_mut().zip(names) {
                    heartbeat(core, name, CoreId(0)).await;
                }
            }
            let (calls, waiting) =
                cores.iter().fold((0, 0), |(calls, waiting), core| (calls + core.calls, waiting + core.waiting));
            if cores.len() <= most {
                let kept = cores.iter().filter(|core| core.calls == 0).count();
                prop_assert!(waiting == 0 || most <= calls + kept, "{calls} of {most}, {waiting} wait: {cores:?}");
            }
            Ok(())
        })?;
    }
}
