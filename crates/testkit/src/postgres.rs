//! Real PostgreSQL server for tests, with a temporary data directory and a free loopback port.
//!
//! Calls block; a server takes about a fifth of a second to start.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

mod install;

use install::{Owner, Programs};

const POLL: Duration = Duration::from_millis(5);
/// Polls until a server that does not start counts as failed: 20 s.
const POLLS: usize = 4_000;
/// Timeout of a shutdown, after which the server is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Attempts to bind a port: a free port may be taken before the server binds it.
const PORTS: usize = 5;

/// Failure of a PostgreSQL server.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// PostgreSQL is not installed.
    #[error(
        "initdb and postgres are neither in PATH nor in /usr/lib/postgresql/*/bin: \
         install PostgreSQL 13 or later (Debian package postgresql), or run scripts/test as root"
    )]
    NotInstalled,
    /// One of its programs failed; its output follows.
    #[error("{program}: {output}")]
    Failed {
        /// Name of the program.
        program: String,
        /// Its output.
        output: String,
    },
    /// A file or process operation failed.
    #[error("{operation}: {source}")]
    Io {
        /// The operation.
        operation: String,
        /// Its error.
        source: io::Error,
    },
}

impl PostgresError {
    fn io(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation: operation.into(), source }
    }
}

/// Shutdown mode of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Closes connections and writes a checkpoint.
    Fast,
    /// Simulates a crash: the next start recovers.
    Immediate,
}

/// A running server. Stopped and deleted on drop; ends by itself if this process is killed.
#[derive(Debug)]
pub struct Postgres {
    programs: Programs,
    owner: Owner,
    /// Holds `data`, the log, and the lock that marks it as in use.
    folder: PathBuf,
    _lock: File,
    port: u16,
    server: Option<Server>,
}

#[derive(Debug)]
struct Server {
    pid: Pid,
    ended: Mutex<mpsc::Receiver<io::Result<ExitStatus>>>,
}

impl Postgres {
    /// Starts an empty server. `fsync` is on, since durability tests depend on it.
    ///
    /// # Errors
    ///
    /// PostgreSQL is not installed or does not start.
    pub fn start_new() -> Result<Self, PostgresError> {
        let (programs, owner) = (Programs::find().ok_or(PostgresError::NotInstalled)?, Owner::find()?);
        let (folder, lock) = install::new_folder(&programs, &owner)?;
        let mut postgres = Self { programs, owner, folder, _lock: lock, port: 0, server: None };
        for attempt in 1.. {
            postgres.port = free_port().map_err(PostgresError::io("a free port"))?;
            match postgres.start() {
                Err(PostgresError::Failed { .. }) if attempt < PORTS => {}
                other => return other.map(|()| postgres),
            }
        }
        Err(PostgresError::NotInstalled)
    }

    /// Creates a database and returns its URL. Connections from this machine need no password, except for the role
    /// `locked`.
    ///
    /// # Errors
    ///
    /// The name exists, or the server is not running.
    pub fn create_database(&self, name: &str) -> Result<String, PostgresError> {
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(self.url(name))
    }

    /// Returns the URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns the port on 127.0.0.1; it survives restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs SQL in a database as superuser; returns the rows in `psql`'s format, columns separated by a vertical bar.
    ///
    /// # Errors
    ///
    /// The server is not running or rejects the SQL.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, PostgresError> {
        let output = install::run(&mut self.psql(database, sql))?;
        Ok(output.trim_end().to_owned())
    }

    /// Starts SQL in a database without waiting for its end.
    ///
    /// # Errors
    ///
    /// `psql` does not start.
    pub fn begin_sql(&self, database: &str, sql: &str) -> Result<(), PostgresError> {
        let mut psql = self.psql(database, sql);
        let psql = psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = psql.spawn().map_err(PostgresError::io("psql"))?;
        // Reaps the child process.
        thread::spawn(move || running.wait());
        Ok(())
    }

    fn psql(&self, database: &str, sql: &str) -> Command {
        let mut psql = self.programs.command("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-d", database, "-c", sql]);
        psql.arg("-p").arg(self.port.to_string());
        psql
    }

    /// Starts the server after [`Postgres::stop`]; returns when it accepts connections.
    ///
    /// # Errors
    ///
    /// The start failed; the error contains the log.
    pub fn start(&mut self) -> Result<(), PostgresError> {
        if self.server.is_some() {
            return Ok(());
        }
        // A crash leaves this file behind; it must not be taken for the new server's.
        let ready = self.folder.join("data/postmaster.pid");
        let _ = fs::remove_file(&ready);
        let log = self.folder.join("log");
        let output = File::create(&log).map_err(PostgresError::io("the server's log"))?;
        let server = spawn(self.command(), output).map_err(PostgresError::io("postgres"))?;
        for _ in 0..POLLS {
            let file = fs::read_to_string(&ready).unwrap_or_default();
            if file.lines().nth(7).is_some_and(|state| state.trim() == "ready") {
                self.server = Some(server);
                return Ok(());
            }
            if server.has_ended_within(Duration::ZERO) {
                break;
            }
            thread::sleep(POLL);
        }
        server.end(Signal::KILL);
        let output = fs::read_to_string(&log).unwrap_or_default();
        Err(PostgresError::Failed { program: "postgres".to_owned(), output })
    }

    /// Stops the server and waits for its end; does nothing if it is not running.
    pub fn stop(&mut self, how: Stop) {
        if let Some(server) = self.server.take() {
            server.end(match how {
                Stop::Fast => Signal::INT,
                Stop::Immediate => Signal::QUIT,
            });
        }
    }

    /// Restarts the server.
    ///
    /// # Errors
    ///
    /// The start failed.
    pub fn restart(&mut self, how: Stop) -> Result<(), PostgresError> {
        self.stop(how);
        self.start()
    }

    /// Suspends or resumes the server's processes, like a network that drops all packets: connections stay open without
    /// a reply.
    ///
    /// # Errors
    ///
    /// The processes cannot be listed.
    pub fn freeze(&self, frozen: bool) -> Result<(), PostgresError> {
        let Some(server) = &self.server else { return Ok(()) };
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        let pid = server.pid.as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
            .map_err(PostgresError::io("the server's processes"))?;
        let children = children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        for pid in children.chain([server.pid]) {
            // A process that has just ended is silent as well.
            let _ = kill_process(pid, signal);
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = self.owner.command(&self.programs.path("postgres"), "QUIT");
        command.arg("-D").arg(self.folder.join("data")).arg("-p").arg(self.port.to_string());
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "shared_buffers=16MB",
            "max_connections=100",
            "fsync=on",
            "timezone=UTC",
            "log_min_messages=warning",
        ] {
            command.args(["-c", setting]);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.freeze(false);
        self.stop(Stop::Immediate);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Server {
    /// Sends `signal`, and SIGKILL after [`STOP_LIMIT`].
    fn end(&self, signal: Signal) {
        for signal in [signal, Signal::KILL] {
            let _ = kill_process(self.pid, signal);
            if self.has_ended_within(STOP_LIMIT) {
                return;
            }
        }
    }

    fn has_ended_within(&self, limit: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(ended.recv_timeout(limit), Err(mpsc::RecvTimeoutError::Timeout))
    }
}

/// Spawns the server from a thread that lives as long as the server: `PR_SET_PDEATHSIG` fires at the end of the parent
/// *thread*.
fn spawn(mut command: Command, output: File) -> io::Result<Server> {
    let errors = output.try_clone()?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let (started, pid) = mpsc::sync_channel::<io::Result<u32>>(1);
    let (exit_sender, ended) = mpsc::sync_channel(1);
    thread::spawn(move || match command.spawn() {
        Err(error) => drop(started.send(Err(error))),
        Ok(mut child) => {
            let _ = started.send(Ok(Child::id(&child)));
            let _ = exit_sender.send(child.wait());
        }
    });
    let pid = pid.recv().map_err(io::Error::other)??;
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))?;
    Ok(Server { pid, ended: Mutex::new(ended) })
}

/// Returns a free port.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Returns true if `folder` is owned by us and writable by no one else.
fn is_ours(folder: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(folder)?;
    Ok(found.is_dir() && found.uid() == geteuid().as_raw() && found.permissions().mode() & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_crash_and_cleans_up() {
        let mut postgres = Postgres::start_new().unwrap();
        let url = postgres.create_database("kept").unwrap();
        assert_eq!(url, format!("postgres://postgres@127.0.0.1:{}/kept", postgres.port()));
        postgres.sql("kept", "CREATE TABLE t AS SELECT 7 AS n, 'a' AS a").unwrap();
        for how in [Stop::Immediate, Stop::Fast] {
            postgres.restart(how).unwrap();
            assert_eq!(postgres.sql("kept", "SELECT * FROM t").unwrap(), "7|a");
        }
        let (folder, pid) = (postgres.folder.clone(), postgres.server.as_ref().unwrap().pid);
        drop(postgres);
        assert!(!folder.exists());
        assert!(!Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists());
    }
}
