//! Both services as people run them, and the stand-in for the model, for one run.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use testkit::llm::{Fallback, LlmStandin, Options};
use testkit::process::{Launch, ProcessError, Service, built};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::LoadError;
use crate::folder::Folder;
use crate::via::Via;

/// The name of a variable and its value.
pub(crate) type Setting = (&'static str, String);

/// Where the programs are; without a path, beside this one.
#[derive(Debug, Clone, Default)]
pub struct Binaries {
    /// The core.
    pub core: Option<PathBuf>,
    /// The gateway.
    pub gateway: Option<PathBuf>,
}

/// A core with a database of its own, a gateway before it, and a model. All end when this is dropped.
#[derive(Debug)]
pub(crate) struct Town {
    pub(crate) core: Place,
    pub(crate) gateway: Place,
    pub(crate) model: Model,
    folder: Folder,
}

/// A running service.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    service: Service,
}

impl Town {
    /// Starts everything in a new folder of `disk`. The settings are the core's and the gateway's.
    pub(crate) async fn start(
        binaries: &Binaries,
        disk: &Path,
        fallback: Fallback,
        settings: [&[Setting]; 2],
    ) -> Result<Self, LoadError> {
        let folder = Folder::new(disk)?;
        let model = Model::start(fallback).await?;
        let own = [("APP_PORT", "0".to_owned()), ("LLM_URL", model.standin.url())];
        let program = program(binaries.core.as_ref(), "core-server")?;
        let core = Place::start(&program, &folder.room("core")?, [&own, settings[0]]).await?;
        let own = [("WS_PORT", "0".to_owned()), ("TCP_PORT", core.address.port().to_string())];
        let program = self::program(binaries.gateway.as_ref(), "ws-gateway")?;
        let gateway = Place::start(&program, &folder.room("gateway")?, [&own, settings[1]]).await?;
        Ok(Self { core, gateway, model, folder })
    }

    /// Where people come in.
    pub(crate) fn via_gateway(&self) -> Via {
        let host = self.gateway.address.to_string();
        Via::WebSocket { url: format!("ws://{host}/ws"), host }
    }

    /// Where the database is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn program(given: Option<&PathBuf>, name: &str) -> Result<PathBuf, LoadError> {
    given.map_or_else(|| Ok(built(name)?), |path| Ok(path.clone()))
}

impl Place {
    async fn start(program: &Path, folder: &Path, settings: [&[Setting]; 2]) -> Result<Self, LoadError> {
        let launch = Launch::new(program).directory(folder).env("ADMIN_PORT", "0").env("LOG_FORMAT", "json");
        let launch = settings.concat().iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        let service = launch.start().await?;
        // Both are there: it has just said that it is ready.
        let (address, pid) = service.listen().zip(service.pid()).ok_or(io::Error::from(io::ErrorKind::NotConnected))?;
        Ok(Self { address, pid, service })
    }

    /// Waits for a part of a line, logged before or later.
    pub(crate) async fn wait_for_log(&self, part: &str) -> Result<(), LoadError> {
        let line = self.service.wait_for_log(|line| line.contains(part)).await.map_err(ProcessError::from)?;
        line.map(drop).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
    }

    /// Asks it to stop (SIGTERM).
    pub(crate) fn ask_to_stop(&self) -> Result<(), LoadError> {
        Ok(self.service.ask_to_stop()?)
    }

    /// Every line it has logged; of very many, the newest.
    pub(crate) fn logs(&self) -> Vec<String> {
        self.service.logs()
    }
}

/// The stand-in, on a thread of its own so that it does not wait for the load, nor the load for it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) standin: Arc<LlmStandin>,
    _stop: DropGuard,
}

impl Model {
    async fn start(fallback: Fallback) -> Result<Self, LoadError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ready, started) = oneshot::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                // Nobody waits for it any more only if the whole run is over.
                let _ = ready.send(LlmStandin::start(Options { fallback, keep: 0, ..Options::default() }).await);
                stopped.cancelled().await;
            });
        });
        let standin = started.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
        Ok(Self { standin: Arc::new(standin), _stop: stop.drop_guard() })
    }
}
