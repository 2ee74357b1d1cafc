//! Fixture: two cores that share a PostgreSQL and a Redis, and gateways in front of them.

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::line_peer::LinePeer;
use testkit::llm::{Fallback, LlmStandin, Options};
use testkit::redis::Redis;
use tokio::net::TcpStream;

use crate::postgres::Server;
use crate::program::{Kind, Program, Setting};
use crate::test_client::TestClient;

pub(crate) const CORES: usize = 2;

pub(crate) type ClusterClient = TestClient<LinePeer<TcpStream>>;

/// Builder of a [`Cluster`].
#[derive(Default)]
pub(crate) struct Plan {
    settings: Vec<Setting>,
    gateways: usize,
    fallback: Fallback,
}

/// Running cluster. On drop its processes are killed and its folder is removed.
pub(crate) struct Cluster {
    pub(crate) standin: LlmStandin,
    pub(crate) cores: Vec<Program>,
    pub(crate) gateways: Vec<Program>,
    pub(crate) redis: Redis,
    pub(crate) postgres: Server,
    _folder: TempDir,
}

impl Plan {
    /// Adds a setting of every service.
    pub(crate) fn set(mut self, name: &'static str, value: impl ToString) -> Self {
        self.settings.push((name, value.to_string()));
        self
    }

    pub(crate) fn gateways(mut self, count: usize) -> Self {
        self.gateways = count;
        self
    }

    /// Sets the model's answers to unscripted calls.
    pub(crate) fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }

    pub(crate) async fn start(self) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let room = |name: String| {
            let room = folder.path().join(name);
            std::fs::create_dir(&room).unwrap();
            room
        };
        let standin = LlmStandin::start(Options { fallback: self.fallback, ..Options::default() }).await.unwrap();
        let redis = Redis::start_new().await.unwrap();
        let (postgres, database) = Server::start().await;
        let own = [
            ("APP_PORT", "0".to_owned()),
            ("LLM_URL", standin.url()),
            ("DATABASE_URL", database),
            ("REDIS_URL", redis.url()),
            // Without summaries, every model call is an answer.
            ("LLM_SUMMARY", "off".to_owned()),
            // All clients send frames; on a busy machine they must not get the plain greeting first.
            ("GREET_DELAY_MS", "60000".to_owned()),
        ];
        let mut cores = Vec::new();
        for number in 1..=CORES {
            let settings = [&own, self.settings.as_slice()].concat();
            let core = Program::start(Kind::Core, &room(format!("core-{number}")), &settings).await;
            core.wait_for(REDIS_CONNECTED).await;
            cores.push(core);
        }
        for core in &cores {
            core.wait_for_line(|line| line.contains("\"cluster size changed\"") && line.contains("\"cores\":2")).await;
        }
        let listed = cores.iter().map(|core| core.address().to_string()).collect::<Vec<_>>().join(",");
        let own = [("WS_PORT", "0".to_owned()), ("TCP_HOST", listed)];
        let mut gateways = Vec::new();
        for number in 1..=self.gateways {
            let settings = [&own, self.settings.as_slice()].concat();
            gateways.push(Program::start(Kind::Gateway, &room(format!("gateway-{number}")), &settings).await);
        }
        Cluster { standin, cores, gateways, redis, postgres, _folder: folder }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let panics: Vec<_> =
            self.cores.iter().flat_map(Program::logs).filter(|line| line.contains("panicked")).collect();
        assert!(panics.is_empty() || std::thread::panicking(), "{panics:?}");
    }
}

/// Logged by a core once Redis is connected.
pub(crate) const REDIS_CONNECTED: &str = "redis connected";
/// Logged by a core when Redis is lost.
pub(crate) const REDIS_LOST: &str = "redis connection lost; enforcing per-core share of limits";

impl Cluster {
    /// Opens a new session on a core; returns the client and `welcome`.
    pub(crate) async fn arrive(&self, core: usize) -> (ClusterClient, Value) {
        self.hello(core, json!({"type": "hello", "v": 1})).await
    }

    /// Resumes a session on a core; returns the client and `welcome`.
    pub(crate) async fn resume(&self, core: usize, welcome: &Value, since: u64) -> (ClusterClient, Value) {
        self.hello(core, json!({"type": "hello", "v": 1, "resume": welcome["resume"], "since": since})).await
    }

    async fn hello(&self, core: usize, hello: Value) -> (ClusterClient, Value) {
        let (client, welcome) = self.try_hello(core, hello).await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        (client, welcome)
    }

    /// Sends `hello` to a core; returns the client and the first frame, `welcome` or an error.
    pub(crate) async fn try_hello(&self, core: usize, hello: Value) -> (ClusterClient, Value) {
        let mut client = TestClient::new(LinePeer::connect(self.cores[core].address()).await.unwrap());
        client.send(hello).await;
        let first = client.frame().await;
        (client, first)
    }
}
