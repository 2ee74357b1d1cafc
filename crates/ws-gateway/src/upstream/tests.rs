use std::collections::HashMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const LIMIT: Duration = Duration::from_secs(3);

/// Resolver with fixed answers that counts look-ups.
#[derive(Debug, Default)]
struct FakeResolver {
    known: Mutex<HashMap<&'static str, Vec<SocketAddr>>>,
    lookups: watch::Sender<usize>,
}

impl FakeResolver {
    fn set(&self, host: &'static str, addresses: &[SocketAddr]) {
        self.known.lock().unwrap().insert(host, addresses.to_vec());
    }

    fn lookups(&self) -> usize {
        *self.lookups.borrow()
    }
}

impl Resolve for FakeResolver {
    async fn addresses(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        self.lookups.send_modify(|count| *count += 1);
        self.known.lock().unwrap().get(host).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn upstream(names: &str) -> Arc<Upstream> {
    Upstream::new(&CoreAddresses::parse(names, 5001).unwrap())
}

async fn core() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Runs `test` while names are resolved.
async fn knowing<T>(upstream: &Upstream, resolver: &FakeResolver, test: impl Future<Output = T>) -> T {
    tokio::select! {
        never = upstream.refresh_dns_loop_with(resolver) => match never {},
        result = test => result,
    }
}

#[tokio::test(start_paused = true)]
async fn resolves_once_for_many_connections() {
    let ((_one, one), (_two, two)) = (core().await, core().await);
    let (upstream, resolver) = (upstream("cores"), FakeResolver::default());
    resolver.set("cores", &[one, two]);
    knowing(&upstream, &resolver, async {
        let mut endpoints = Vec::new();
        // Only the first connection waits for the pending look-up.
        for _ in 0..20 {
            endpoints.push(upstream.connect(LIMIT).await.unwrap());
        }
        let at = |core| endpoints.iter().filter(|(stream, _)| stream.peer_addr().unwrap() == core).count();
        assert_eq!((at(one), at(two), resolver.lookups()), (10, 10, 1));
        drop(endpoints);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn follows_dns_changes() {
    let ((_one, one), (_two, two)) = (core().await, core().await);
    let (upstream, resolver) = (upstream(&format!("cores,{one}")), FakeResolver::default());
    let mut rounds = upstream.lookups.subscribe();
    knowing(&upstream, &resolver, async {
        // Known at once, and kept although the name beside it does not resolve.
        rounds.changed().await.unwrap();
        let held = upstream.connect(LIMIT).await.unwrap();
        assert_eq!(held.0.peer_addr().unwrap(), one);
        resolver.set("cores", &[one, two]);
        rounds.changed().await.unwrap();
        assert_eq!(upstream.selector().listed_count(), 2, "the same address twice is one core");
        assert_eq!(upstream.connect(LIMIT).await.unwrap().0.peer_addr().unwrap(), two);
        // A failed or empty look-up removes no core.
        resolver.known.lock().unwrap().clear();
        rounds.changed().await.unwrap();
        assert_eq!(upstream.selector().listed_count(), 2);
        resolver.set("cores", &[]);
        rounds.changed().await.unwrap();
        assert_eq!(upstream.selector().listed_count(), 2);
        let before = Instant::now();
        rounds.changed().await.unwrap();
        assert_eq!(before.elapsed(), DNS_REFRESH_INTERVAL);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn reports_unresolvable_names() {
    let (upstream, resolver) = (upstream("nowhere"), FakeResolver::default());
    let mut rounds = upstream.lookups.subscribe();
    knowing(&upstream, &resolver, async {
        rounds.changed().await.unwrap();
        let before = Instant::now();
        let error = upstream.connect(LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), "no address is known for nowhere:5001");
        assert_eq!(before.elapsed(), DNS_MIN_INTERVAL, "one more look-up, requested by the connection attempt");
    })
    .await;
}

#[tokio::test]
async fn ejects_unreachable_cores_after_one_attempt() {
    let ((_one, one), (two, gone), (three, gone_too)) = (core().await, core().await, core().await);
    drop((two, three));
    let upstream = upstream(&format!("{one},{gone},{gone_too}"));
    let mut held = Vec::new();
    for _ in 0..50 {
        let (stream, endpoint) = upstream.connect(LIMIT).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), one);
        held.push(endpoint);
    }
    assert!(!held.iter().any(EndpointGuard::is_on_probation));
}

#[tokio::test]
async fn tries_every_core_and_returns_the_last_error() {
    let ((one, first), (two, second)) = (core().await, core().await);
    drop((one, two));
    let upstream = upstream(&format!("{first},{second}"));
    for _ in 0..5 {
        let error = upstream.connect(LIMIT).await.unwrap_err();
        assert!(
            matches!(&error, ConnectError::Refused { address, .. } if [first, second].contains(address)),
            "{error}"
        );
    }
    // Both are ejected; the first connection that succeeds is used at once.
    let back = TcpListener::bind(first).await.unwrap();
    let (stream, mut endpoint) = upstream.connect(LIMIT).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), first);
    assert!(endpoint.is_on_probation());
    endpoint.mark_healthy();
    assert!(!endpoint.is_on_probation());
    assert!(!upstream.connect(LIMIT).await.unwrap().1.is_on_probation());
    drop(back);
}

fn is_ejected(upstream: &Upstream, address: SocketAddr) -> bool {
    upstream.usage().iter().any(|core| core.address == address && core.ejected)
}

/// Answers the next connection with one byte after its first bytes.
async fn answer(core: &TcpListener) {
    let (mut stream, _) = core.accept().await.unwrap();
    let mut first = [0; 5];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(first, *b"\r\n\r\n\0", "a PROXY header");
    stream.write_all(b"x").await.unwrap();
}

#[tokio::test]
async fn probes_ejected_cores_without_clients() {
    let (core, address) = core().await;
    let upstream = upstream(&address.to_string());
    let mut endpoint = upstream.connect(LIMIT).await.unwrap().1;
    endpoint.mark_failed(&"a test");
    assert!(upstream.usage()[0].ejected);
    let (_held, _) = core.accept().await.unwrap();
    tokio::select! {
        never = upstream.probe_loop() => match never {},
        () = async {
            answer(&core).await;
            while upstream.usage()[0].ejected {
                tokio::task::yield_now().await;
            }
        } => {}
    }
}

#[tokio::test(start_paused = true)]
async fn ejects_hanging_core_within_10_s() {
    let ((_hangs, one), (works, two)) = (core().await, core().await);
    let upstream = upstream(&format!("{one},{two}"));
    let start = Instant::now();
    tokio::select! {
        never = upstream.probe_loop() => match never {},
        () = async { loop { answer(&works).await } } => {}
        () = async {
            while !is_ejected(&upstream, one) {
                sleep(Duration::from_millis(100)).await;
            }
        } => {}
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(!is_ejected(&upstream, two));
    for _ in 0..5 {
        assert_eq!(upstream.connect(LIMIT).await.unwrap().0.peer_addr().unwrap(), two);
    }
}

#[tokio::test]
async fn keeps_suspected_core_that_passes_its_check() {
    let ((slow, one), (_other, two)) = (core().await, core().await);
    let upstream = upstream(&format!("{one},{two}"));
    let mut endpoints = Vec::new();
    for _ in 0..2 {
        endpoints.push(upstream.connect(LIMIT).await.unwrap().1);
    }
    let (_held, _) = slow.accept().await.unwrap();
    let endpoint = endpoints.iter_mut().find(|endpoint| endpoint.address() == one).unwrap();
    for _ in 0..5 {
        endpoint.suspect();
    }
    tokio::select! {
        never = upstream.probe_loop() => match never {},
        () = async {
            answer(&slow).await;
            while upstream.usage().iter().any(|core| core.open != 1) {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    assert!(!is_ejected(&upstream, one) && !endpoint.has_better_core());
    assert!(upstream.usage().iter().all(|core| core.failed == 0));
}

#[tokio::test(start_paused = true)]
async fn ejects_the_only_core_when_it_hangs() {
    let (_hangs, address) = core().await;
    let upstream = upstream(&address.to_string());
    let mut endpoint = upstream.connect(LIMIT).await.unwrap().1;
    endpoint.suspect();
    let start = Instant::now();
    tokio::select! {
        never = upstream.probe_loop() => match never {},
        () = async {
            while !is_ejected(&upstream, address) {
                sleep(Duration::from_millis(100)).await;
            }
        } => {}
    }
    assert_eq!(start.elapsed().as_secs(), 4, "the time for a check");
    assert!(!endpoint.has_better_core(), "it is the only one");
}

#[tokio::test]
async fn reachability_of_an_ejected_core_requires_a_reply() {
    let (core, address) = core().await;
    let upstream = upstream(&address.to_string());
    upstream.check_reachable(LIMIT).await.unwrap();
    upstream.connect(LIMIT).await.unwrap().1.mark_failed(&"a test");
    let error = upstream.check_reachable(Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Silent { .. }), "{error}");
    for _ in 0..3 {
        drop(core.accept().await.unwrap());
    }
    let (reached, ()) = tokio::join!(upstream.check_reachable(LIMIT), answer(&core));
    reached.unwrap();
    assert!(!upstream.usage()[0].ejected);
}

#[test]
fn local_exhaustion_is_no_core_failure() {
    for (errno, want) in [
        (Errno::MFILE, Some(Exhausted::AllDestinations)),
        (Errno::NFILE, Some(Exhausted::AllDestinations)),
        (Errno::NOMEM, Some(Exhausted::AllDestinations)),
        (Errno::ADDRNOTAVAIL, Some(Exhausted::OneDestination)),
        (Errno::CONNREFUSED, None),
    ] {
        assert_eq!(exhausted(&errno.into()), want, "{errno}");
    }
    assert_eq!(exhausted(&io::ErrorKind::TimedOut.into()), None);
}

#[tokio::test(start_paused = true)]
async fn unserved_address_family_counts_as_absent() {
    let (_works, one) = core().await;
    let (upstream, resolver) = (upstream("localhost"), FakeResolver::default());
    // Nothing listens there.
    let other = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 1));
    resolver.set("localhost", &[one, other]);
    knowing(&upstream, &resolver, async {
        for _ in 0..9 {
            let (stream, mut endpoint) = upstream.connect(LIMIT).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), one);
            endpoint.mark_healthy();
        }
    })
    .await;
    let absent: Vec<_> = upstream.usage().iter().map(|core| (core.address, core.absent)).collect();
    assert_eq!(absent, [(one, false), (other, true)]);
}

#[tokio::test(start_paused = true)]
async fn attempt_deadlines() {
    let now = Instant::now();
    for (left, passed_ms, want_ms) in [
        (Remaining::Healthy, 0, 500),
        (Remaining::Healthy, 2_800, 200),
        (Remaining::Ejected, 0, 1_500),
        (Remaining::Ejected, 2_000, 500),
        (Remaining::None, 0, 3_000),
        (Remaining::None, 1_000, 2_000),
    ] {
        let deadline = now + LIMIT - Duration::from_millis(passed_ms);
        let got = try_deadline(left, deadline, LIMIT) - now;
        assert_eq!(got.as_millis(), want_ms, "{left:?} after {passed_ms} ms");
    }
}
