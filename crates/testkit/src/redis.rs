//! Real Redis server for tests, on a free loopback port and without persistence.

use std::path::PathBuf;

use rustix::process::Signal;

use crate::postgres::free_port;
use crate::process::{Launch, ProcessError, Service};

/// Attempts to bind a port: a free port may be taken before the server binds it.
const PORTS: usize = 5;

/// A Redis server, killed on drop.
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    port: u16,
    server: Option<Service>,
}

impl Redis {
    /// Starts an empty server.
    ///
    /// # Errors
    ///
    /// Redis is not installed (Debian package `redis-server`), or does not start.
    pub async fn start_new() -> Result<Self, ProcessError> {
        Self::start_program("redis-server").await
    }

    /// Starts a server from another program: a path, or a name in `PATH`.
    ///
    /// # Errors
    ///
    /// The program is missing, or does not start.
    pub async fn start_program(program: impl Into<PathBuf>) -> Result<Self, ProcessError> {
        let mut redis = Self { program: program.into(), port: 0, server: None };
        for attempt in 1.. {
            redis.port = free_port().map_err(|source| ProcessError::Io { program: redis.program.clone(), source })?;
            match redis.start().await {
                Err(ProcessError::Ended { .. }) if attempt < PORTS => {}
                other => return other.map(|()| redis),
            }
        }
        Ok(redis)
    }

    /// Returns the URL; it survives restarts.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts an empty server on the same port after [`Redis::kill`].
    ///
    /// # Errors
    ///
    /// The start failed; the error contains the log.
    pub async fn start(&mut self) -> Result<(), ProcessError> {
        let mut launch = Launch::new(&self.program);
        let port = self.port.to_string();
        for argument in ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", "/"] {
            launch = launch.argument(argument);
        }
        let server = launch.spawn()?;
        match server.wait_for_log(|line| line.contains("Ready to accept connections")).await? {
            Some(_) => self.server = Some(server),
            None => return Err(ProcessError::Ended { program: self.program.clone(), log: server.logs().join("\n") }),
        }
        Ok(())
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Errors
    ///
    /// Waiting failed.
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        match self.server.take() {
            Some(mut server) => server.kill().await.map(drop),
            None => Ok(()),
        }
    }

    /// Suspends or resumes the server, like a network that drops all packets: connections stay open without a reply.
    ///
    /// # Errors
    ///
    /// The signal cannot be sent.
    pub fn freeze(&self, frozen: bool) -> Result<(), ProcessError> {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        self.server.as_ref().map_or(Ok(()), |server| server.signal(signal))
    }
}
