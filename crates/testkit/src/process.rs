//! Built binaries as processes: started with a known environment, observed through
//! their log, stopped by signal, and never left behind.

mod log;

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::watchdog::{self, Expired};
use log::Log;

/// Why a process is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no such binary beside the running one.
    #[error("{0} is not built")]
    NotBuilt(PathBuf),
    /// It cannot be started, signalled or waited for.
    #[error("{program}: {source}")]
    Io {
        /// The binary.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was ready. Its last words follow.
    #[error("{program} ended before it was ready:\n{log}")]
    Ended {
        /// The binary.
        program: PathBuf,
        /// What it had logged.
        log: String,
    },
    /// It never said that it is ready. What it did say follows.
    #[error("{program} is not ready after {limit:?}:\n{log}")]
    NotReady {
        /// The binary.
        program: PathBuf,
        /// How long was waited.
        limit: Duration,
        /// What it had logged.
        log: String,
    },
    /// It is ready but does not say where.
    #[error("no address in {0:?}")]
    NoAddress(String),
    /// It took too long.
    #[error(transparent)]
    Expired(#[from] Expired),
}

/// A binary that is about to be started. Only `PATH` and `HOME` are passed on to it, and an `ADMIN_PORT`
/// that leaves the services' usual admin ports to those who use them.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

impl Launch {
    /// `program` with neither arguments nor an environment of the caller's. Tests of the binary's own package
    /// get the path from `env!("CARGO_BIN_EXE_…")`, others from [`built`].
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let environment = vec![("ADMIN_PORT".into(), "0".into())];
        Self { program: program.into(), arguments: Vec::new(), environment, directory: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the directory it runs in.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts it and waits until it logs `"message":"ready"`.
    ///
    /// # Errors
    ///
    /// It cannot be started, ends, or is not ready in time.
    pub async fn start(self) -> Result<Service, ProcessError> {
        let service = self.spawn()?;
        let ready = watchdog::within(watchdog::LIMIT, service.log.find(is_ready)).await;
        let (program, log) = (self.program, service.logs().join("\n"));
        let line = match ready {
            Ok(Some(line)) => line,
            Ok(None) => return Err(ProcessError::Ended { program, log }),
            Err(Expired { limit }) => return Err(ProcessError::NotReady { program, limit, log }),
        };
        let listen = address(&line).ok_or(ProcessError::NoAddress(line))?;
        Ok(Service { listen: Some(listen), ..service })
    }

    /// Starts it without waiting for anything.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn spawn(&self) -> Result<Service, ProcessError> {
        // A path is meant from here, not from the directory the process runs in.
        let program = if self.program.components().nth(1).is_some() {
            std::path::absolute(&self.program).map_err(|source| self.failed(source))?
        } else {
            self.program.clone()
        };
        let mut command = Command::new(program);
        let passed_on = ["PATH", "HOME"].into_iter().filter_map(|name| Some((name, env::var_os(name)?)));
        command.args(&self.arguments).env_clear().envs(passed_on);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|source| self.failed(source))?;
        let log = Log::of(child.stdout.take(), child.stderr.take());
        Ok(Service { launch: self.clone(), child, log, listen: None })
    }

    fn failed(&self, source: io::Error) -> ProcessError {
        ProcessError::Io { program: self.program.clone(), source }
    }
}

/// A running process. Killed when dropped.
#[derive(Debug)]
pub struct Service {
    launch: Launch,
    child: Child,
    log: Log,
    listen: Option<SocketAddr>,
}

impl Service {
    /// The address of its `ready` line; `None` if nobody waited for that line.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.listen
    }

    /// Its process id; `None` once it has been waited for.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Every line it has written so far, to standard output and standard error.
    pub fn logs(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Reads what it writes, or leaves it in the pipes, which then fill up.
    pub fn read_log(&self, on: bool) {
        self.log.read(on);
    }

    /// Waits for a line, written before or later; `None` if it ends without one.
    ///
    /// # Errors
    ///
    /// There is none within [`watchdog::LIMIT`].
    pub async fn wait_for_log(&self, condition: impl FnMut(&str) -> bool) -> Result<Option<String>, Expired> {
        watchdog::within(watchdog::LIMIT, self.log.find(condition)).await
    }

    /// Asks it to stop (SIGTERM) and waits for nothing.
    ///
    /// # Errors
    ///
    /// It cannot be signalled.
    pub fn ask_to_stop(&self) -> Result<(), ProcessError> {
        self.signal(Signal::TERM)
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    ///
    /// # Errors
    ///
    /// It does not within four times [`watchdog::LIMIT`], which is longer than a drain may take.
    pub async fn terminate(&mut self) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::TERM)?;
        watchdog::within(4 * watchdog::LIMIT, self.wait()).await?
    }

    /// Ends it without warning (SIGKILL).
    ///
    /// # Errors
    ///
    /// It cannot be waited for.
    pub async fn kill(&mut self) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::KILL)?;
        self.wait().await
    }

    /// Stops it where it is (SIGSTOP): its sockets stay open, and it does nothing.
    ///
    /// # Errors
    ///
    /// It is not ours to signal.
    pub fn suspend(&self) -> Result<(), ProcessError> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// It is not ours to signal.
    pub fn resume(&self) -> Result<(), ProcessError> {
        self.signal(Signal::CONT)
    }

    /// Waits until it has ended and all of its log is here.
    ///
    /// # Errors
    ///
    /// It cannot be waited for.
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        let status = self.child.wait().await.map_err(|source| self.launch.failed(source))?;
        self.log.read(true);
        self.log.ended().await;
        Ok(status)
    }

    /// Sends a signal; does nothing if the process has been waited for.
    ///
    /// # Errors
    ///
    /// It is not ours to signal.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let sent = pid.map_or(Ok(()), |pid| kill_process(pid, signal));
        sent.map_err(|errno| self.launch.failed(errno.into()))
    }
}

/// The binary `name` of this workspace, in the target folder of the running one.
///
/// # Errors
///
/// It is not built.
pub fn built(name: &str) -> Result<PathBuf, ProcessError> {
    let own = env::current_exe().map_err(|source| ProcessError::Io { program: name.into(), source })?;
    let folder = own.parent().map(|folder| if folder.ends_with("deps") { folder.join("..") } else { folder.into() });
    let path = folder.unwrap_or_default().join(name);
    if Path::is_file(&path) { Ok(path) } else { Err(ProcessError::NotBuilt(path)) }
}

fn is_ready(line: &str) -> bool {
    // Cheap first: most lines are not.
    line.contains("\"ready\"") && field(line, "message").is_some_and(|message| message == "ready")
}

fn address(line: &str) -> Option<SocketAddr> {
    field(line, "listen")?.as_str()?.parse().ok()
}

/// A field of a log line, at the top or among the event's `fields`.
fn field(line: &str, name: &str) -> Option<Value> {
    let mut line: Value = serde_json::from_str(line).ok()?;
    let top = line.get_mut(name).map(Value::take);
    top.or_else(|| line.get_mut("fields")?.get_mut(name).map(Value::take))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Launch {
        Launch::new("/bin/sh").argument("-c").argument(script)
    }

    #[tokio::test]
    async fn ready_logs_and_terminate() {
        let script = r#"
            trap 'echo bye; exit 3' TERM
            echo "not json"
            echo '{"message":"almost \"ready\""}'
            echo "{\"message\":\"ready\",\"listen\":\"127.0.0.1:4711\",\"seen\":\"$GREETING$CARGO\"}"
            echo oops >&2
            while :; do sleep 0.01; done
        "#;
        let mut service = shell(script).env("GREETING", "hola").start().await.unwrap();
        assert_eq!(service.listen(), Some("127.0.0.1:4711".parse().unwrap()));
        assert!(service.wait_for_log(|line| line == "oops").await.unwrap().is_some());
        let status = service.terminate().await.unwrap();
        assert_eq!(status.code(), Some(3));
        let logs = service.logs();
        assert!(logs.iter().any(|line| line.contains(r#""seen":"hola""#)), "{logs:?}");
        assert!(logs.iter().any(|line| line == "bye"), "{logs:?}");
    }

    #[tokio::test]
    async fn early_exit_returns_log() {
        let error = shell("echo 'MODEL_NAME is empty' >&2; exit 78").start().await.unwrap_err();
        assert!(matches!(&error, ProcessError::Ended { log, .. } if log == "MODEL_NAME is empty"), "{error}");
        let error = Launch::new("/nonexistent").start().await.unwrap_err();
        assert!(matches!(error, ProcessError::Io { .. }), "{error}");
        assert!(matches!(built("no-such-binary"), Err(ProcessError::NotBuilt(_))));
    }

    #[tokio::test]
    async fn kill_ignores_signal_handlers() {
        let mut service = shell("trap '' TERM; echo up; while :; do sleep 0.01; done").spawn().unwrap();
        assert!(service.wait_for_log(|line| line == "up").await.unwrap().is_some());
        let status = service.kill().await.unwrap();
        assert_eq!(status.code(), None);
        assert_eq!(service.pid(), None);
    }
}
