//! Idle load: connected users who send nothing.

use std::fmt;
use std::time::Duration;

use protocol::Face;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::error::LoadError;
use crate::target::Target;
use crate::watched_process::{Cost, Watch, WatchedProcess};

/// Options of an idle run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Server to connect to.
    pub target: Target,
    /// Plain lines or frames.
    pub face: Face,
    /// Number of users.
    pub people: usize,
    /// Delay from the last greeting to reading the memory.
    pub settle: Duration,
    /// Processes to measure.
    pub watched: Vec<WatchedProcess>,
}

/// Results of an idle run.
#[derive(Debug, Clone, Serialize)]
pub struct IdleReport {
    /// Number of users.
    pub people: usize,
    /// Time until all were greeted.
    pub connect_seconds: f64,
    /// Resources of each measured process per user.
    pub costs: Vec<Cost>,
    /// Memory per user over all processes, in bytes.
    pub grown_bytes_each: f64,
}

/// Connects all users and reads the resources used.
///
/// # Errors
///
/// A user cannot connect, or a process cannot be measured.
pub async fn run(options: &Options) -> Result<IdleReport, LoadError> {
    // One connection first: allocations made once must not count as a user's.
    drop(options.target.open(1, options.face).await?);
    let watch = Watch::start(&options.watched)?;
    let start = Instant::now();
    let people = options.target.open(options.people, options.face).await?;
    let connect_seconds = start.elapsed().as_secs_f64();
    sleep(options.settle).await;
    let costs = watch.costs(u64::try_from(people.len()).unwrap_or(u64::MAX))?;
    let grown_bytes_each = costs.iter().map(|cost| cost.grown_bytes_each).sum();
    Ok(IdleReport { people: people.len(), connect_seconds, costs, grown_bytes_each })
}

impl fmt::Display for IdleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { people, connect_seconds, costs, grown_bytes_each } = self;
        writeln!(f, "{people} idle people, connected in {connect_seconds:.2} s")?;
        for cost in costs {
            writeln!(f, "{cost}")?;
        }
        writeln!(f, "together {grown_bytes_each:.0} B per person")
    }
}
