//! Several cores, some of them faulty.

use futures_util::StreamExt as _;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_tungstenite::tungstenite::Message;

use crate::rig::{CorePeer, Rig, core_at, within};

/// Behaviour of a core.
#[derive(Clone, Copy)]
enum Core {
    /// Greets and keeps the connection.
    Works,
    /// Accepts and closes at once.
    Crashes,
    /// Replies to every check at once, but greets clients only after this many checks: its database is slow.
    Slow { checks: usize },
}

/// A core in this process; stopped on drop.
struct Running(u16, AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.1.abort();
    }
}

async fn run(core: Core) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = async move {
        let (mut greeted, mut waiting, mut checks) = (Vec::new(), Vec::new(), 0);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let wanted = match core {
                Core::Works => 0,
                Core::Slow { checks } => checks,
                Core::Crashes => continue,
            };
            let mut peer = CorePeer::greet(stream).await;
            if peer.header.is_health_check() {
                peer.say("{}\n").await;
                checks += 1;
            } else {
                waiting.push(peer);
            }
            if wanted <= checks {
                for mut peer in waiting.drain(..) {
                    peer.say("hola\n").await;
                    greeted.push(peer);
                }
            }
        }
    };
    Running(port, tokio::runtime::Handle::current().spawn(serve).abort_handle())
}

async fn in_front_of(ports: &[u16]) -> Rig {
    let ports = ports.to_vec();
    Rig::start_with(move |config| {
        config.cores.0 = ports.iter().flat_map(|&port| core_at(port).0).collect();
    })
    .await
}

#[tokio::test]
async fn crashing_core_attracts_only_probes() {
    let (works, crashes) = (run(Core::Works).await, run(Core::Crashes).await);
    let rig = in_front_of(&[works.0, crashes.0]).await;
    let (mut held, mut lost) = (Vec::new(), 0);
    for _ in 0..40 {
        let mut client = rig.connect(None).await;
        match within(client.websocket.next()).await {
            Some(Ok(Message::Text(text))) if text == "hola" => held.push(client),
            Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 1012 => lost += 1,
            other => panic!("{other:?}"),
        }
    }
    // It has the fewest connections and would get all of them, but only its probes are lost.
    assert!((1..10).contains(&lost), "{lost}");
    assert_eq!(held.len() + lost, 40);
}

#[tokio::test]
async fn unreachable_core_costs_no_client() {
    let works = run(Core::Works).await;
    let rig = in_front_of(&[1, works.0, 2]).await;
    for _ in 0..20 {
        let mut client = rig.connect(None).await;
        assert_eq!(client.text().await, "hola");
    }
    assert_eq!(rig.status("/readyz").await, 200, "one is enough");
}

#[tokio::test]
async fn recovers_when_all_cores_were_down() {
    let (one, two) = (run(Core::Works).await, run(Core::Works).await);
    let ports = [one.0, two.0];
    drop((one, two));
    let rig = in_front_of(&ports).await;
    for _ in 0..3 {
        let mut client = rig.connect(None).await;
        assert_eq!(client.closed().await, (1013, "core_unreachable".to_owned()));
    }
    assert_eq!(rig.status("/readyz").await, 503);
    let listener = TcpListener::bind(("127.0.0.1", ports[1])).await.unwrap();
    // An earlier failure does not reject: the first client gets through.
    let mut client = rig.connect(None).await;
    let mut core = CorePeer::greet(within(listener.accept()).await.unwrap().0).await;
    core.say("hola\n").await;
    assert_eq!(client.text().await, "hola");
}

/// Each client waits longer than the first-byte timeout. The second check runs only because a connection is suspicious.
#[tokio::test]
async fn keeps_clients_of_cores_with_slow_database() {
    let slow = Core::Slow { checks: 2 };
    let (one, other) = (run(slow).await, run(slow).await);
    let rig = in_front_of(&[one.0, other.0]).await;
    let mut people = Vec::new();
    for _ in 0..6 {
        people.push(rig.connect(None).await);
    }
    for person in &mut people {
        assert_eq!(person.text().await, "hola");
    }
}
