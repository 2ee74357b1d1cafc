//! Why a run gives no result.

use std::io;
use std::path::PathBuf;

use testkit::footprint::FootprintError;
use testkit::peer::PeerError;
use testkit::postgres::PostgresError;
use testkit::process::ProcessError;

use crate::help::Condition;

/// Why a run gives no result.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An address that is neither `ws://host:port/path` nor `tcp://host:port`.
    #[error("{0} is neither ws://host:port/path nor tcp://host:port")]
    Via(String),
    /// A process to watch that is not `name=PID`.
    #[error("{0} is not name=PID")]
    Observed(String),
    /// The host has no address.
    #[error("{0} has no address")]
    Unresolved(String),
    /// A connection cannot be opened.
    #[error("connection {number}: {source}")]
    Connect {
        /// Which one, from 0.
        number: usize,
        /// Why.
        source: PeerError,
    },
    /// A framed connection cannot be opened.
    #[error("connection {number}: {source}")]
    Open {
        /// Which one, from 0.
        number: usize,
        /// Why.
        source: client::ConnectError,
    },
    /// A connection was not greeted in time.
    #[error("connection {number} was not greeted: {got}")]
    NotGreeted {
        /// Which one, from 0.
        number: usize,
        /// What came instead.
        got: String,
    },
    /// A process cannot be watched.
    #[error(transparent)]
    Footprint(#[from] FootprintError),
    /// A process cannot be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A bridge does not carry lines as it should.
    #[error("{route}: {problem}")]
    Route {
        /// Which bridge.
        route: &'static str,
        /// What it does.
        problem: String,
    },
    /// PostgreSQL cannot be started or stopped.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The core's SQLite database cannot be locked.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// What was to be wrong is not, or not any more.
    #[error("{condition}: got {got}")]
    Lapsed {
        /// What was to be wrong.
        condition: Condition,
        /// What shows that it is not.
        got: String,
    },
    /// Help did not come.
    #[error("people who got no help: {0}")]
    NotHelped(usize),
    /// A file for a process we start.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The machine refuses something.
    #[error(transparent)]
    Io(#[from] io::Error),
}
