//! Fixture: one core, gateways, and the stand-in for the model, as processes.

use std::path::PathBuf;

use protocol::Face;
use tempfile::TempDir;
use testkit::line_peer::LinePeer;
use testkit::llm::{Fallback, LlmStandin, Options};
use testkit::ws_peer::WsPeer;
use tokio::net::TcpStream;

use crate::program::{Kind, Program, Setting};
use crate::test_client::TestClient;

/// Builder of a [`SingleNode`].
#[derive(Default)]
pub(crate) struct Plan {
    core: Vec<Setting>,
    gateway: Vec<Setting>,
    gateways: usize,
    fallback: Fallback,
}

/// Running services. On drop the processes are killed and the folder is removed.
pub(crate) struct SingleNode {
    pub(crate) standin: LlmStandin,
    pub(crate) core: Program,
    pub(crate) gateways: Vec<Program>,
    /// Working folders of the processes, outside the project, whose `.env` they must not read.
    folder: TempDir,
}

impl Plan {
    /// Plan with one gateway.
    pub(crate) fn with_gateway() -> Self {
        Self { gateways: 1, ..Self::default() }
    }

    pub(crate) fn gateways(mut self, count: usize) -> Self {
        self.gateways = count;
        self
    }

    /// Adds a setting of the core.
    pub(crate) fn core(mut self, name: &'static str, value: impl ToString) -> Self {
        self.core.push((name, value.to_string()));
        self
    }

    /// Adds a setting of every gateway.
    pub(crate) fn gateway(mut self, name: &'static str, value: impl ToString) -> Self {
        self.gateway.push((name, value.to_string()));
        self
    }

    /// Adds a setting of both services.
    pub(crate) fn both(self, name: &'static str, value: &str) -> Self {
        self.core(name, value).gateway(name, value)
    }

    /// Sets the model's answers to unscripted calls.
    pub(crate) fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }

    pub(crate) async fn start(self) -> SingleNode {
        let folder = tempfile::tempdir().unwrap();
        let room = |name: &str| subfolder(&folder, name);
        let standin = LlmStandin::start(Options { fallback: self.fallback, ..Options::default() }).await.unwrap();
        let mut settings = vec![("APP_PORT", "0".to_owned()), ("LLM_URL", standin.url())];
        settings.extend(self.core);
        let core = Program::start(Kind::Core, &room("core"), &settings).await;
        let mut settings = vec![("WS_PORT", "0".to_owned()), ("TCP_PORT", core.address().port().to_string())];
        settings.extend(self.gateway);
        let mut gateways = Vec::new();
        for number in 1..=self.gateways {
            gateways.push(Program::start(Kind::Gateway, &room(&format!("gateway-{number}")), &settings).await);
        }
        SingleNode { standin, core, gateways, folder }
    }
}

fn subfolder(folder: &TempDir, name: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

impl SingleNode {
    /// First gateway.
    pub(crate) fn gateway(&mut self) -> &mut Program {
        self.gateways.first_mut().unwrap()
    }

    /// Creates a folder below the node's.
    pub(crate) fn subfolder(&self, name: &str) -> PathBuf {
        subfolder(&self.folder, name)
    }

    /// Connects to the core over TCP.
    pub(crate) async fn at_core(&self) -> TestClient<LinePeer<TcpStream>> {
        TestClient::new(LinePeer::connect(self.core.address()).await.unwrap())
    }

    /// Connects to the first gateway over a WebSocket.
    pub(crate) async fn at_gateway(&self, face: Face) -> TestClient<WsPeer> {
        let gateway = self.gateways.first().unwrap();
        TestClient::new(WsPeer::connect(gateway.address(), face).await.unwrap())
    }

    /// Log lines of all services.
    pub(crate) fn logs(&self) -> Vec<String> {
        self.gateways.iter().chain([&self.core]).flat_map(Program::logs).collect()
    }
}
