//! A real Redis server for tests: its own port on the loopback, nothing on disk, gone with the test.

use std::path::PathBuf;

use rustix::process::Signal;

use crate::postgres::free_port;
use crate::process::{Launch, ProcessError, Service};

/// Servers that may find the port taken that was free a moment ago.
const PORTS: usize = 5;

/// A server. Killed when dropped.
#[derive(Debug)]
pub struct Redis {
    program: PathBuf,
    port: u16,
    server: Option<Service>,
}

impl Redis {
    /// Starts a new, empty server.
    ///
    /// # Errors
    ///
    /// Redis is not installed (Debian package `redis-server`), or does not start.
    pub async fn start_new() -> Result<Self, ProcessError> {
        Self::start_program("redis-server").await
    }

    /// The same with another program: a path, or a name to be found in `PATH`.
    ///
    /// # Errors
    ///
    /// It is not there, or does not start.
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

    /// Where it listens. Stays the same when it is started again.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it again after [`Redis::kill`]; it has forgotten everything.
    ///
    /// # Errors
    ///
    /// It does not start; its log is in the error.
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

    /// Ends it without warning.
    ///
    /// # Errors
    ///
    /// It cannot be waited for.
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        match self.server.take() {
            Some(mut server) => server.kill().await.map(drop),
            None => Ok(()),
        }
    }

    /// Stops and continues it as a network does that loses everything: connections stay open and
    /// nothing is answered.
    ///
    /// # Errors
    ///
    /// It cannot be signalled.
    pub fn freeze(&self, frozen: bool) -> Result<(), ProcessError> {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        self.server.as_ref().map_or(Ok(()), |server| server.signal(signal))
    }
}
