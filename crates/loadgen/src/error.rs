//! Errors of a run.

use std::io;
use std::path::PathBuf;

use testkit::footprint::FootprintError;
use testkit::peer::PeerError;
use testkit::postgres::PostgresError;
use testkit::process::ProcessError;

use crate::help::Condition;

/// A run failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An address that is neither `ws://host:port/path` nor `tcp://host:port`.
    #[error("{0} is neither ws://host:port/path nor tcp://host:port")]
    InvalidTarget(String),
    /// A watched process that is not `name=PID`.
    #[error("{0} is not name=PID")]
    InvalidProcess(String),
    /// The host has no address.
    #[error("{0} has no address")]
    Unresolved(String),
    /// A connection cannot be opened.
    #[error("connection {number}: {source}")]
    Connect {
        /// Number of the connection, from 0.
        number: usize,
        /// Cause.
        source: PeerError,
    },
    /// A framed connection cannot be opened.
    #[error("connection {number}: {source}")]
    Open {
        /// Number of the connection, from 0.
        number: usize,
        /// Cause.
        source: client::ConnectError,
    },
    /// A connection got no greeting in time.
    #[error("connection {number} was not greeted: {got}")]
    NotGreeted {
        /// Number of the connection, from 0.
        number: usize,
        /// Received instead.
        got: String,
    },
    /// The resources of a process cannot be read.
    #[error(transparent)]
    Footprint(#[from] FootprintError),
    /// A process cannot be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A bridge does not forward lines unchanged.
    #[error("{route}: {problem}")]
    Route {
        /// Name of the bridge.
        route: &'static str,
        /// Observed behaviour.
        problem: String,
    },
    /// PostgreSQL cannot be started or stopped.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The core's SQLite database cannot be locked.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The fault condition did not hold throughout.
    #[error("{condition}: got {got}")]
    Lapsed {
        /// The condition.
        condition: Condition,
        /// Evidence that it did not hold.
        got: String,
    },
    /// Users in risk got no help.
    #[error("people who got no help: {0}")]
    NotHelped(usize),
    /// A file for a started process cannot be made.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// Other I/O error.
    #[error(transparent)]
    Io(#[from] io::Error),
}
