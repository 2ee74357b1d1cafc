//! Two cores that share a database and a Redis, and the gateways in front of them.

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::line_peer::LinePeer;
use testkit::llm::{Fallback, LlmStandin, Options};
use testkit::redis::Redis;
use tokio::net::TcpStream;

use crate::person::Person;
use crate::postgres::Server;
use crate::program::{Kind, Program, Setting};

pub(crate) const CORES: usize = 2;

pub(crate) type Visitor = Person<LinePeer<TcpStream>>;

/// What a [`City`] is to be like.
#[derive(Default)]
pub(crate) struct Plan {
    settings: Vec<Setting>,
    gateways: usize,
    fallback: Fallback,
}

/// Its processes are killed and its folder removed when dropped.
pub(crate) struct City {
    pub(crate) standin: LlmStandin,
    pub(crate) cores: Vec<Program>,
    pub(crate) gateways: Vec<Program>,
    pub(crate) redis: Redis,
    pub(crate) postgres: Server,
    _folder: TempDir,
}

impl Plan {
    /// A setting of every service.
    pub(crate) fn set(mut self, name: &'static str, value: impl ToString) -> Self {
        self.settings.push((name, value.to_string()));
        self
    }

    pub(crate) fn gateways(mut self, count: usize) -> Self {
        self.gateways = count;
        self
    }

    /// What the model says when nothing is scripted.
    pub(crate) fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }

    pub(crate) async fn start(self) -> City {
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
            // Calls to the model are answers only.
            ("LLM_SUMMARY", "off".to_owned()),
            // Programs all of them, and slow to say so on a busy machine.
            ("GREET_DELAY_MS", "60000".to_owned()),
        ];
        let mut cores = Vec::new();
        for number in 1..=CORES {
            let settings = [&own, self.settings.as_slice()].concat();
            let core = Program::start(Kind::Core, &room(format!("core-{number}")), &settings).await;
            core.wait_for(LINKED).await;
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
        City { standin, cores, gateways, redis, postgres, _folder: folder }
    }
}

impl Drop for City {
    fn drop(&mut self) {
        let panics: Vec<_> =
            self.cores.iter().flat_map(Program::logs).filter(|line| line.contains("panicked")).collect();
        assert!(panics.is_empty() || std::thread::panicking(), "{panics:?}");
    }
}

/// What a core logs when it shares.
pub(crate) const LINKED: &str = "redis connected";
/// What a core logs when it cannot.
pub(crate) const NOT_LINKED: &str = "redis connection lost; enforcing per-core share of limits";

impl City {
    /// Someone new at a core, and the `welcome`.
    pub(crate) async fn arrive(&self, core: usize) -> (Visitor, Value) {
        self.hello(core, json!({"type": "hello", "v": 1})).await
    }

    /// Someone who goes on with a session at a core, and the `welcome`.
    pub(crate) async fn resume(&self, core: usize, welcome: &Value, since: u64) -> (Visitor, Value) {
        self.hello(core, json!({"type": "hello", "v": 1, "resume": welcome["resume"], "since": since})).await
    }

    async fn hello(&self, core: usize, hello: Value) -> (Visitor, Value) {
        let mut visitor = Person::new(LinePeer::connect(self.cores[core].address()).await.unwrap());
        visitor.send(hello).await;
        let welcome = visitor.frame().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        (visitor, welcome)
    }
}
