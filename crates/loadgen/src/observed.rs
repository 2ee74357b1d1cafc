//! Processes that are watched while the load runs.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use testkit::footprint::{Footprint, FootprintError};

use crate::error::LoadError;
use crate::stats::per;

/// A process to watch, `name=PID` on the command line.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Its name in the report.
    pub name: String,
    /// Its process id.
    pub pid: u32,
}

impl FromStr for Observed {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        let parsed = text.split_once('=').and_then(|(name, pid)| Some((name, pid.parse().ok()?)));
        let (name, pid) = parsed.ok_or_else(|| LoadError::Observed(text.to_owned()))?;
        Ok(Self { name: name.to_owned(), pid })
    }
}

/// What a process cost.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// Its name.
    pub name: String,
    /// Processor time per unit of work, in microseconds.
    pub cpu_us_each: f64,
    /// How much its resident memory grew per unit of work, in bytes.
    pub grown_bytes_each: f64,
    /// Resident memory at the end, in bytes.
    pub resident_bytes: u64,
    /// The part of it that is heap and stacks.
    pub anonymous_bytes: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, cpu, grown) = (&self.name, self.cpu_us_each, self.grown_bytes_each);
        let (resident, anonymous) = (self.resident_bytes >> 10, self.anonymous_bytes >> 10);
        write!(f, "{name}: CPU {cpu:.2} µs each, grown {grown:.0} B each, RSS {resident} KB (anonymous {anonymous} KB)")
    }
}

/// Processes as they were before the load.
#[derive(Debug)]
pub(crate) struct Watch<'a>(Vec<(&'a Observed, Footprint)>);

impl<'a> Watch<'a> {
    pub(crate) fn start(observed: &'a [Observed]) -> Result<Self, FootprintError> {
        let looks = observed.iter().map(|process| Ok((process, Footprint::of(process.pid)?)));
        looks.collect::<Result<_, _>>().map(Self)
    }

    /// What each cost since the start, for `units` of work.
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
    pub(crate) fn costs(&self, units: u64) -> Result<Vec<Cost>, FootprintError> {
        let costs = self.0.iter().map(|(process, before)| {
            let after = Footprint::of(process.pid)?;
            Ok(Cost {
                name: process.name.clone(),
                cpu_us_each: per(after.processor_time_since(before).as_secs_f64() * 1e6, units),
                grown_bytes_each: per(after.growth_since(before) as f64, units),
                resident_bytes: after.resident_bytes,
                anonymous_bytes: after.anonymous_bytes,
            })
        });
        costs.collect()
    }
}
