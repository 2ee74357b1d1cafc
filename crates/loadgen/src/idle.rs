//! People who are connected and say nothing.

use std::fmt;
use std::time::Duration;

use protocol::Face;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::error::LoadError;
use crate::observed::{Cost, Observed, Watch};
use crate::via::Via;

/// Who is idle where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where they connect.
    pub via: Via,
    /// What they would speak.
    pub face: Face,
    /// How many there are.
    pub people: usize,
    /// How long after the last greeting the memory is read.
    pub settle: Duration,
    /// Processes to watch.
    pub observed: Vec<Observed>,
}

/// What idle people cost.
#[derive(Debug, Clone, Serialize)]
pub struct IdleReport {
    /// How many there are.
    pub people: usize,
    /// How long it took until all were greeted.
    pub connect_seconds: f64,
    /// Of each process watched, per person.
    pub costs: Vec<Cost>,
    /// Memory per person over all of them, in bytes.
    pub grown_bytes_each: f64,
}

/// Connects everybody and reads what that has cost.
///
/// # Errors
///
/// Somebody cannot connect, or a process cannot be watched.
pub async fn run(options: &Options) -> Result<IdleReport, LoadError> {
    // What is allocated once, at the first connection, is not what a person costs.
    drop(options.via.open(1, options.face).await?);
    let watch = Watch::start(&options.observed)?;
    let start = Instant::now();
    let people = options.via.open(options.people, options.face).await?;
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
