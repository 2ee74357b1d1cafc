//! Binaries of the workspace as processes: known environment, observed logs, signals, and no leftovers.

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

/// Failure of a process.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The binary does not exist beside the running one.
    #[error("{0} is not built")]
    NotBuilt(PathBuf),
    /// Starting, signalling or waiting failed.
    #[error("{program}: {source}")]
    Io {
        /// Path of the binary.
        program: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The process ended before it was ready; its log follows.
    #[error("{program} ended before it was ready:\n{log}")]
    Ended {
        /// Path of the binary.
        program: PathBuf,
        /// Its log.
        log: String,
    },
    /// The process did not become ready in time; its log follows.
    #[error("{program} is not ready after {limit:?}:\n{log}")]
    NotReady {
        /// Path of the binary.
        program: PathBuf,
        /// Time limit.
        limit: Duration,
        /// Its log.
        log: String,
    },
    /// The `ready` line has no address.
    #[error("no address in {0:?}")]
    NoAddress(String),
    /// A time limit expired.
    #[error(transparent)]
    Expired(#[from] Expired),
}

/// Builder of a process. Passes on only `PATH` and `HOME`, and an `ADMIN_PORT` of 0, so that tests do not compete for
/// the services' default admin ports.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

impl Launch {
    /// Creates a builder for `program` without arguments. Tests of the binary's own package get the path from
    /// `env!("CARGO_BIN_EXE_…")`, others from [`built`].
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

    /// Sets the working directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Starts the process and waits until it logs `"message":"ready"`.
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

    /// Starts the process without waiting.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn spawn(&self) -> Result<Service, ProcessError> {
        // Relative paths refer to the caller's working directory, not the process's.
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

/// A running process, killed on drop.
#[derive(Debug)]
pub struct Service {
    launch: Launch,
    child: Child,
    log: Log,
    listen: Option<SocketAddr>,
}

impl Service {
    /// Returns the address of the `ready` line; `None` if it was not awaited.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.listen
    }

    /// Returns the process id; `None` after its end was awaited.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns all lines so far of standard output and standard error.
    pub fn logs(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Resumes or pauses reading its output; while paused, the pipes fill up.
    pub fn read_log(&self, on: bool) {
        self.log.read(on);
    }

    /// Waits for a line, past or future; `None` if the process ends without one.
    ///
    /// # Errors
    ///
    /// No such line within [`watchdog::LIMIT`].
    pub async fn wait_for_log(&self, condition: impl FnMut(&str) -> bool) -> Result<Option<String>, Expired> {
        watchdog::within(watchdog::LIMIT, self.log.find(condition)).await
    }

    /// Sends SIGTERM without waiting.
    ///
    /// # Errors
    ///
    /// The signal cannot be sent.
    pub fn ask_to_stop(&self) -> Result<(), ProcessError> {
        self.signal(Signal::TERM)
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    ///
    /// It did not end within four times [`watchdog::LIMIT`], which exceeds the longest drain.
    pub async fn terminate(&mut self) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::TERM)?;
        watchdog::within(4 * watchdog::LIMIT, self.wait()).await?
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Errors
    ///
    /// Waiting failed.
    pub async fn kill(&mut self) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::KILL)?;
        self.wait().await
    }

    /// Sends SIGSTOP: the sockets stay open, but the process does nothing.
    ///
    /// # Errors
    ///
    /// The signal cannot be sent.
    pub fn suspend(&self) -> Result<(), ProcessError> {
        self.signal(Signal::STOP)
    }

    /// Sends SIGCONT.
    ///
    /// # Errors
    ///
    /// The signal cannot be sent.
    pub fn resume(&self) -> Result<(), ProcessError> {
        self.signal(Signal::CONT)
    }

    /// Waits for the end of the process and of its log.
    ///
    /// # Errors
    ///
    /// Waiting failed.
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        let status = self.child.wait().await.map_err(|source| self.launch.failed(source))?;
        self.log.read(true);
        self.log.ended().await;
        Ok(status)
    }

    /// Sends a signal; does nothing after the process's end was awaited.
    ///
    /// # Errors
    ///
    /// The signal cannot be sent.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let sent = pid.map_or(Ok(()), |pid| kill_process(pid, signal));
        sent.map_err(|errno| self.launch.failed(errno.into()))
    }
}

/// Returns the path of the binary `name` in the target directory of the running one.
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
    // Cheap check first: most lines do not match.
    line.contains("\"ready\"") && field(line, "message").is_some_and(|message| message == "ready")
}

fn address(line: &str) -> Option<SocketAddr> {
    field(line, "listen")?.as_str()?.parse().ok()
}

/// Returns a field of a log line, at the top or among the event's `fields`.
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
