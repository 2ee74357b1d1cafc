//! One gateway in front of three cores: load balancing and failover.

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use protocol::Face;
use tempfile::TempDir;
use testkit::peer::ConnectionEnd;
use testkit::watchdog::{LIMIT, within};
use testkit::ws_peer::WsPeer;

use crate::http::{self, POLL_INTERVAL};
use crate::program::{Kind, Program};
use crate::test_client::TestClient;

const CORES: usize = 3;
const PEOPLE: usize = 60;

struct Cluster {
    cores: Vec<Program>,
    gateway: Program,
    _folder: TempDir,
}

/// Lifts the limits per address, because all clients share one.
fn settings() -> Vec<(&'static str, String)> {
    let limits = ["MAX_CONNECTIONS_PER_ADDRESS", "CONNECTS_PER_MINUTE_PER_ADDRESS"];
    limits.map(|limit| (limit, "100000".to_owned())).to_vec()
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let room = |name: &str| {
            let room = folder.path().join(name);
            std::fs::create_dir(&room).unwrap();
            room
        };
        let mut cores = Vec::new();
        // On a busy machine a slow gateway must not get the plain greeting and be counted twice.
        let patient = vec![("APP_PORT", "0".to_owned()), ("GREET_DELAY_MS", "60000".to_owned())];
        for number in 0..CORES {
            let settings = [settings(), patient.clone()].concat();
            cores.push(Program::start(Kind::Core, &room(&format!("core-{number}")), &settings).await);
        }
        let listed = cores.iter().map(|core| core.address().to_string()).collect::<Vec<_>>().join(",");
        let own = vec![("WS_PORT", "0".to_owned()), ("TCP_HOST", listed), ("LOG_LEVEL", "debug".to_owned())];
        let gateway = Program::start(Kind::Gateway, &room("gateway"), &[settings(), own].concat()).await;
        Self { cores, gateway, _folder: folder }
    }

    /// Opens a session through the gateway.
    async fn arrive(&self) -> TestClient<WsPeer> {
        let mut person = TestClient::new(WsPeer::connect(self.gateway.address(), Face::Frames).await.unwrap());
        person.hello().await;
        person
    }

    async fn arrive_together(&self, people: usize) -> Vec<TestClient<WsPeer>> {
        join_all((0..people).map(|_| self.arrive())).await
    }

    /// Connections accepted by each core, once they total `all`.
    async fn carried(&self, all: usize) -> Vec<usize> {
        let carried = || -> Vec<usize> { self.cores.iter().map(|core| core.said("connection opened")).collect() };
        let seen = within(LIMIT, async {
            while carried().iter().sum::<usize>() < all {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
        seen.await.unwrap_or_else(|expired| panic!("{:?} are not {all}: {expired}", carried()));
        carried()
    }
}

#[tokio::test]
async fn spreads_connections_and_survives_a_dead_core() {
    let mut cluster = Cluster::start().await;
    let mut people = cluster.arrive_together(PEOPLE).await;
    let carried = cluster.carried(PEOPLE).await;
    assert!(carried.iter().all(|carried| (18..=22).contains(carried)), "{carried:?}");

    cluster.cores[0].kill().await;
    let lost = carried[0];
    // Clients of other cores are not affected.
    let endings: FuturesUnordered<_> = people.iter_mut().map(TestClient::ending).collect();
    let endings: Vec<ConnectionEnd> = endings.take(lost).collect().await;
    assert!(endings.iter().all(|ending| *ending == ConnectionEnd::WebSocket(1012)), "{endings:?}");

    let again = cluster.arrive_together(lost).await;
    let carried = cluster.carried(PEOPLE + lost).await;
    assert!(carried[1..].iter().all(|carried| (28..=32).contains(carried)), "{carried:?}");
    assert_eq!(http::status(cluster.gateway.address(), "/readyz", "").await.unwrap(), 200);
    // No client was refused, and one ejection sufficed for all; a probe or two may have been due.
    let gateway = &cluster.gateway;
    assert_eq!((gateway.said("core ejected"), gateway.said("core unreachable")), (1, 0), "{:?}", gateway.logs());
    assert!(gateway.said("core still ejected") <= 3, "{:?}", gateway.logs());

    cluster.cores[0].restart().await;
    let newcomers = the_first_back(&cluster).await;
    cluster.gateway.wait_for("core restored").await;
    let fresh = cluster.arrive_together(PEOPLE / CORES).await;
    let all = cluster.carried(PEOPLE + newcomers.len() + fresh.len()).await;
    assert_eq!(all[0], 1 + fresh.len(), "everyone goes where there is most room: {all:?}");
    drop((people, again));
}

/// Connects until one client probes the recovered core; only one may before the core is marked healthy.
async fn the_first_back(cluster: &Cluster) -> Vec<TestClient<WsPeer>> {
    let mut newcomers = Vec::new();
    let back = within(LIMIT, async {
        while cluster.cores[0].said("connection opened") == 0 {
            newcomers.push(cluster.arrive().await);
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    });
    back.await.unwrap_or_else(|expired| panic!("{expired}: {:?}", cluster.gateway.logs()));
    newcomers
}
