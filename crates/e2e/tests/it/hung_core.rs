//! Hung core: its kernel accepts connections, the process does not respond.

use futures_util::future::join_all;
use protocol::Face;
use tempfile::TempDir;
use testkit::peer::ConnectionEnd;
use testkit::ws_peer::WsPeer;

use crate::program::{Kind, Program};
use crate::test_client::TestClient;

struct Pair {
    cores: [Program; 2],
    gateway: Program,
    _folder: TempDir,
}

impl Pair {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let room = |name: &str| {
            let room = folder.path().join(name);
            std::fs::create_dir(&room).unwrap();
            room
        };
        let core = async |name: &str| Program::start(Kind::Core, &room(name), &[("APP_PORT", "0".to_owned())]).await;
        let cores = [core("one").await, core("two").await];
        let listed = format!("{},{}", cores[0].address(), cores[1].address());
        let settings = [("WS_PORT", "0".to_owned()), ("TCP_HOST", listed)];
        let gateway = Program::start(Kind::Gateway, &room("gateway"), &settings).await;
        Self { cores, gateway, _folder: folder }
    }

    async fn arrive(&self) -> TestClient<WsPeer> {
        TestClient::new(WsPeer::connect(self.gateway.address(), Face::Frames).await.unwrap())
    }
}

/// The core is ejected by a health check, gets no connections while ejected, and is restored by itself.
#[tokio::test]
async fn ejects_a_hung_core() {
    let pair = Pair::start().await;
    pair.cores[0].suspend();
    pair.gateway.wait_for("core ejected").await;
    let welcomed = join_all((0..10).map(|_| async {
        let mut person = pair.arrive().await;
        person.hello().await;
        person
    }));
    let people = welcomed.await;
    assert_eq!(pair.gateway.said("core ejected"), 1, "{:?}", pair.gateway.logs());
    pair.cores[0].resume();
    pair.gateway.wait_for("core restored").await;
    drop(people);
}

/// Clients connected before the ejection get a retryable close instead of hanging.
#[tokio::test]
async fn clients_of_a_hung_core_are_asked_to_retry() {
    let pair = Pair::start().await;
    pair.cores[0].suspend();
    let mut people = join_all((0..4).map(|_| pair.arrive())).await;
    for person in &mut people {
        person.send(serde_json::json!({"type": "hello", "v": 1})).await;
    }
    let (mut welcomed, mut sent_away) = (0, 0);
    for person in &mut people {
        match person.read().await {
            Some(line) if line.contains("welcome") => welcomed += 1,
            None if person.ending().await == ConnectionEnd::WebSocket(1012) => sent_away += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((1..=2).contains(&sent_away) && welcomed + sent_away == 4, "{welcomed}: {:?}", pair.gateway.logs());
    pair.cores[0].resume();
}
