//! One core, some gateways, and the stand-in for the model.

use std::path::PathBuf;

use protocol::Face;
use tempfile::TempDir;
use testkit::line_peer::LinePeer;
use testkit::llm::{Fallback, LlmStandin, Options};
use testkit::ws_peer::WsPeer;
use tokio::net::TcpStream;

use crate::person::Person;
use crate::program::{Kind, Program, Setting};

/// What a [`Town`] is to be like.
#[derive(Default)]
pub(crate) struct Plan {
    core: Vec<Setting>,
    gateway: Vec<Setting>,
    gateways: usize,
    fallback: Fallback,
}

/// Everything a person needs. Its processes are killed and its folder removed when dropped.
pub(crate) struct Town {
    pub(crate) standin: LlmStandin,
    pub(crate) core: Program,
    pub(crate) gateways: Vec<Program>,
    /// Where the processes run, a folder each. Outside of the project, whose `.env` is not meant for them.
    folder: TempDir,
}

impl Plan {
    /// One gateway in front of the core.
    pub(crate) fn with_gateway() -> Self {
        Self { gateways: 1, ..Self::default() }
    }

    pub(crate) fn gateways(mut self, count: usize) -> Self {
        self.gateways = count;
        self
    }

    /// A setting of the core.
    pub(crate) fn core(mut self, name: &'static str, value: impl ToString) -> Self {
        self.core.push((name, value.to_string()));
        self
    }

    /// A setting of every gateway.
    pub(crate) fn gateway(mut self, name: &'static str, value: impl ToString) -> Self {
        self.gateway.push((name, value.to_string()));
        self
    }

    /// A setting of both.
    pub(crate) fn both(self, name: &'static str, value: &str) -> Self {
        self.core(name, value).gateway(name, value)
    }

    /// What the model says when nothing is scripted.
    pub(crate) fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }

    pub(crate) async fn start(self) -> Town {
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
        Town { standin, core, gateways, folder }
    }
}

fn subfolder(folder: &TempDir, name: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

impl Town {
    /// The only gateway, or the first.
    pub(crate) fn gateway(&mut self) -> &mut Program {
        self.gateways.first_mut().unwrap()
    }

    /// A new folder of this town.
    pub(crate) fn room(&self, name: &str) -> PathBuf {
        subfolder(&self.folder, name)
    }

    /// Someone at a terminal, or a native program.
    pub(crate) async fn at_core(&self) -> Person<LinePeer<TcpStream>> {
        Person::new(LinePeer::connect(self.core.address()).await.unwrap())
    }

    /// Someone on a WebSocket of the first gateway.
    pub(crate) async fn at_gateway(&self, face: Face) -> Person<WsPeer> {
        let gateway = self.gateways.first().unwrap();
        Person::new(WsPeer::connect(gateway.address(), face).await.unwrap())
    }

    /// Every line that either service has logged.
    pub(crate) fn logs(&self) -> Vec<String> {
        self.gateways.iter().chain([&self.core]).flat_map(Program::logs).collect()
    }
}
