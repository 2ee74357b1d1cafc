use proptest::prelude::*;

use super::*;

const PER_ADDRESS: usize = 20;
const CONNECTIONS: usize = 200;

fn admission() -> Arc<Admission> {
    Admission::new(AdmissionLimits {
        max_connections: CONNECTIONS,
        max_connections_per_address: PER_ADDRESS,
        connects: RateLimit { events: 30, window: Duration::from_secs(60) },
        trusted: TrustedProxies::parse("10.0.0.0/8").unwrap(),
    })
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Accepts sockets of `addresses` in turn until each is rejected.
fn flood(admission: &Arc<Admission>, addresses: &[IpAddr]) -> Vec<SocketPermit> {
    let mut held = Vec::new();
    loop {
        let before = held.len();
        held.extend(addresses.iter().filter_map(|address| admission.accept(*address).ok()));
        if held.len() == before {
            return held;
        }
    }
}

#[test]
fn limits_handshakes_per_address() {
    let admission = admission();
    let mut held = flood(&admission, &[ip("203.0.113.9")]);
    assert_eq!(held.len(), PER_ADDRESS);
    assert_eq!(admission.accept(ip("203.0.113.9")).unwrap_err(), SocketRejection::Address);
    assert!(admission.accept(ip("203.0.113.8")).is_ok(), "others are served");
    // A finished handshake frees its share.
    held[0].finish_handshake();
    held.push(admission.accept(ip("203.0.113.9")).unwrap());
    assert!(admission.accept(ip("203.0.113.9")).is_err());
    drop(held);
    let sockets = admission.sockets.lock().unwrap();
    assert!(sockets.all == 0 && sockets.handshakes.is_empty(), "{sockets:?}");
}

#[test]
fn limits_an_end_site_to_four_times_a_subnet() {
    let admission = admission();
    let networks: Vec<IpAddr> = (0..99).map(|network| ip(&format!("2001:db8:7:{network:x}::1"))).collect();
    assert_eq!(flood(&admission, &networks).len(), END_SITE_FACTOR * PER_ADDRESS);
    let now = Instant::now();
    let admitted = |_: &usize| networks.iter().any(|network| admission.connect(*network, now).is_ok());
    assert_eq!((0..1_000).filter(admitted).count(), END_SITE_FACTOR * 30);
    assert!(admission.connect(ip("2001:db8:8::1"), now).is_ok());
}

#[test]
fn leaves_sockets_to_others_near_the_limit() {
    let admission = admission();
    // All but the spare sockets are connections of other clients.
    let mut proxied: Vec<_> = (0..CONNECTIONS).map(|_| admission.accept(ip("10.0.0.1")).unwrap()).collect();
    let mut held = Vec::new();
    for number in 1..10 {
        let before = held.len();
        held.extend(flood(&admission, &[ip(&format!("203.0.113.{number}"))]));
        assert!(before < held.len(), "number {number} gets nothing");
    }
    let free = CONNECTIONS + SPARE_SOCKETS - proxied.len() - held.len();
    assert!(0 < free, "the last address has taken the last socket");
    // A trusted proxy counts only towards the total.
    proxied.extend((0..free).map(|_| admission.accept(ip("10.0.0.1")).unwrap()));
    assert_eq!(admission.accept(ip("10.0.0.1")).unwrap_err(), SocketRejection::Full);
}

#[tokio::test]
async fn evicts_the_oldest_preamble() {
    let admission = admission();
    let room = (CONNECTIONS + SPARE_SOCKETS) / PREAMBLE_SHARE;
    let held: Vec<_> = (0..room).map(|_| admission.preamble()).collect();
    assert!(held.iter().all(|permit| !permit.evicted.is_cancelled()));
    let newest = admission.preamble();
    held[0].evicted().await;
    let evicted = |permit: &&PreamblePermit| permit.evicted.is_cancelled();
    assert_eq!((held.iter().filter(evicted).count(), newest.evicted.is_cancelled()), (1, false));
    drop((held, newest));
    assert!(admission.preambles.lock().unwrap().waiting.is_empty());
}

proptest! {
    /// Property: one address never exceeds its share, and another one is always admitted.
    #[test]
    fn one_address_never_starves_another(steps in proptest::collection::vec((0usize..4, any::<usize>()), 1..400)) {
        let (admission, attacker, person) = (admission(), ip("203.0.113.9"), ip("198.51.100.7"));
        let (mut sockets, mut permits) = (Vec::new(), Vec::new());
        for (step, which) in steps {
            match step {
                0 | 1 => sockets.extend(admission.accept(attacker)),
                2 if !sockets.is_empty() => {
                    // As a service does: either a connection or the end.
                    let mut socket = sockets.swap_remove(which % sockets.len());
                    if let Some(permit) = admission.acquire_connection(attacker) {
                        socket.finish_handshake();
                        permits.push((socket, permit));
                    }
                }
                3 if !permits.is_empty() => drop(permits.swap_remove(which % permits.len())),
                _ => {}
            }
            prop_assert!(sockets.len() <= PER_ADDRESS && permits.len() <= PER_ADDRESS);
            prop_assert!(admission.accept(person).is_ok() && admission.acquire_connection(person).is_some());
        }
    }
}
