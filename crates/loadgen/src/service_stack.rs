//! Both services as processes, with a stand-in for the model, for one run.

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
use crate::target::Target;

/// Name and value of an environment variable.
pub(crate) type Setting = (&'static str, String);

/// Paths of the binaries; `None` means beside this one.
#[derive(Debug, Clone, Default)]
pub struct Binaries {
    /// Path of core-server.
    pub core: Option<PathBuf>,
    /// Path of ws-gateway.
    pub gateway: Option<PathBuf>,
}

/// Core with its own database, gateway and model. Killed on drop.
#[derive(Debug)]
pub(crate) struct ServiceStack {
    pub(crate) core: RunningService,
    pub(crate) gateway: RunningService,
    pub(crate) model: ModelStandin,
    folder: Folder,
}

#[derive(Debug)]
pub(crate) struct RunningService {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    service: Service,
}

impl ServiceStack {
    /// Starts all in a new folder below `disk`, with settings of the core and of the gateway.
    pub(crate) async fn start(
        binaries: &Binaries,
        disk: &Path,
        fallback: Fallback,
        settings: [&[Setting]; 2],
    ) -> Result<Self, LoadError> {
        let folder = Folder::new(disk)?;
        let model = ModelStandin::start(fallback).await?;
        let own = [("APP_PORT", "0".to_owned()), ("LLM_URL", model.standin.url())];
        let program = program(binaries.core.as_ref(), "core-server")?;
        let core = RunningService::start(&program, &folder.subfolder("core")?, [&own, settings[0]]).await?;
        let own = [("WS_PORT", "0".to_owned()), ("TCP_PORT", core.address.port().to_string())];
        let program = self::program(binaries.gateway.as_ref(), "ws-gateway")?;
        let gateway = RunningService::start(&program, &folder.subfolder("gateway")?, [&own, settings[1]]).await?;
        Ok(Self { core, gateway, model, folder })
    }

    /// Target of users.
    pub(crate) fn gateway_target(&self) -> Target {
        let host = self.gateway.address.to_string();
        Target::WebSocket { url: format!("ws://{host}/ws"), host }
    }

    /// Folder of the run; the core's, with the database, is below it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn program(given: Option<&PathBuf>, name: &str) -> Result<PathBuf, LoadError> {
    given.map_or_else(|| Ok(built(name)?), |path| Ok(path.clone()))
}

impl RunningService {
    async fn start(program: &Path, folder: &Path, settings: [&[Setting]; 2]) -> Result<Self, LoadError> {
        let launch = Launch::new(program).directory(folder).env("ADMIN_PORT", "0").env("LOG_FORMAT", "json");
        let launch = settings.concat().iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        let service = launch.start().await?;
        // Both are known once the service has logged that it is ready.
        let (address, pid) = service.listen().zip(service.pid()).ok_or(io::Error::from(io::ErrorKind::NotConnected))?;
        Ok(Self { address, pid, service })
    }

    /// Waits until a log line contains `part`; earlier lines count.
    pub(crate) async fn wait_for_log(&self, part: &str) -> Result<(), LoadError> {
        let line = self.service.wait_for_log(|line| line.contains(part)).await.map_err(ProcessError::from)?;
        line.map(drop).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
    }

    /// Sends SIGTERM.
    pub(crate) fn ask_to_stop(&self) -> Result<(), LoadError> {
        Ok(self.service.ask_to_stop()?)
    }

    /// Log lines so far; beyond the buffer, the newest.
    pub(crate) fn logs(&self) -> Vec<String> {
        self.service.logs()
    }
}

/// Stand-in for the model, on a thread of its own so that it and the load do not delay each other.
#[derive(Debug)]
pub(crate) struct ModelStandin {
    pub(crate) standin: Arc<LlmStandin>,
    _stop: DropGuard,
}

impl ModelStandin {
    async fn start(fallback: Fallback) -> Result<Self, LoadError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ready, started) = oneshot::channel();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        thread::spawn(move || {
            runtime.block_on(async {
                // The receiver is dropped only when the whole run ends.
                let _ = ready.send(LlmStandin::start(Options { fallback, keep: 0, ..Options::default() }).await);
                stopped.cancelled().await;
            });
        });
        let standin = started.await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
        Ok(Self { standin: Arc::new(standin), _stop: stop.drop_guard() })
    }
}
