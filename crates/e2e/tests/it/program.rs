//! Service as a process: started in its own folder, located by its log, restarted at the same
//! address.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Output};

use serde_json::Value;
use testkit::process::{Launch, Service, built};
use testkit::watchdog::{LIMIT, within};
use tokio::process::Command;

/// Name and value of an environment variable.
pub(crate) type Setting = (&'static str, String);

/// Kind of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Core,
    Gateway,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Core, Self::Gateway];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Core => "core-server",
            Self::Gateway => "ws-gateway",
        }
    }

    /// Variable of the listening port.
    pub(crate) fn port(self) -> &'static str {
        match self {
            Self::Core => "APP_PORT",
            Self::Gateway => "WS_PORT",
        }
    }

    fn launch(self, folder: &Path) -> Launch {
        Launch::new(built(self.name()).unwrap()).directory(folder)
    }
}

/// Running service. Killed on drop.
pub(crate) struct Program {
    kind: Kind,
    launch: Launch,
    service: Service,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Program {
    /// Starts a service in `folder` with `settings` and waits until it listens.
    pub(crate) async fn start(kind: Kind, folder: &Path, settings: &[Setting]) -> Self {
        Self::launched(kind, kind.launch(folder), settings).await
    }

    /// Starts a service by `launch`, which must exec the binary.
    pub(crate) async fn launched(kind: Kind, launch: Launch, settings: &[Setting]) -> Self {
        let launch = settings.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        let (service, [address, admin]) = listening(&launch).await;
        Self { kind, launch, service, address, admin }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Address of its admin port.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn pid(&self) -> u32 {
        self.service.pid().unwrap()
    }

    /// Log lines so far.
    pub(crate) fn logs(&self) -> Vec<String> {
        self.service.logs()
    }

    /// Resumes or pauses reading its log from the pipe.
    pub(crate) fn read_log(&self, on: bool) {
        self.service.read_log(on);
    }

    /// Waits for a log line with `message`.
    pub(crate) async fn wait_for(&self, message: &str) {
        self.wait_for_times(1, message).await;
    }

    /// Waits for a matching log line.
    pub(crate) async fn wait_for_line(&self, condition: impl FnMut(&str) -> bool) {
        let found = self.service.wait_for_log(condition).await;
        assert!(found.is_ok_and(|line| line.is_some()), "no such line in\n{}", self.logs().join("\n"));
    }

    /// Waits until `message` was logged `times` times.
    pub(crate) async fn wait_for_times(&self, times: usize, message: &str) {
        let (mut seen, message) = (0, field("message", message));
        let last = |line: &str| {
            seen += usize::from(line.contains(&message));
            seen == times
        };
        let found = self.service.wait_for_log(last).await;
        assert!(found.is_ok_and(|line| line.is_some()), "{seen} of {times} {message} in\n{}", self.logs().join("\n"));
    }

    /// Number of log lines with `message`.
    pub(crate) fn said(&self, message: &str) -> usize {
        let message = field("message", message);
        self.logs().iter().filter(|line| line.contains(&message)).count()
    }

    /// Sends SIGTERM.
    pub(crate) fn ask_to_stop(&self) {
        self.service.ask_to_stop().unwrap();
    }

    /// Sends SIGTERM and waits for the exit.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.service.terminate().await.unwrap()
    }

    /// Sends SIGSTOP: the service hangs until [`Program::resume`].
    pub(crate) fn suspend(&self) {
        self.service.suspend().unwrap();
    }

    /// Sends SIGCONT after [`Program::suspend`].
    pub(crate) fn resume(&self) {
        self.service.resume().unwrap();
    }

    /// Sends SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.service.kill().await.unwrap();
    }

    /// Restarts it at the same address in the same folder.
    pub(crate) async fn restart(&mut self) {
        let launch = self.launch.clone().env(self.kind.port(), self.address.port().to_string());
        (self.service, [self.address, self.admin]) = listening(&launch).await;
    }
}

/// Field in the format of a log line.
fn field(name: &str, value: &str) -> String {
    format!("\"{name}\":\"{value}\"")
}

async fn listening(launch: &Launch) -> (Service, [SocketAddr; 2]) {
    let service = launch.spawn().unwrap();
    let line = service.wait_for_log(|line| addresses(line).is_some()).await;
    match line.ok().flatten().as_deref().and_then(addresses) {
        Some(addresses) => (service, addresses),
        None => panic!("it does not listen:\n{}", service.logs().join("\n")),
    }
}

/// Parses the listening and admin addresses of the `ready` line.
fn addresses(line: &str) -> Option<[SocketAddr; 2]> {
    let line: Value = serde_json::from_str(line).ok().filter(|line: &Value| line["message"] == "ready")?;
    let address = |name: &str| line[name].as_str()?.parse().ok();
    Some([address("listen")?, address("admin")?])
}

/// Runs a service to its exit, with `settings` and an optional argument.
pub(crate) async fn run(kind: Kind, folder: &Path, settings: &[Setting], argument: Option<&str>) -> Output {
    let mut command = Command::new(built(kind.name()).unwrap());
    command.current_dir(folder).env_clear().env("ADMIN_PORT", "0").args(argument).kill_on_drop(true);
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    within(LIMIT, command.output()).await.unwrap().unwrap()
}
