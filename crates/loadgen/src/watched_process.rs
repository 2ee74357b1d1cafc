//! Resource usage of processes under load.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use testkit::footprint::{Footprint, FootprintError};

use crate::error::LoadError;
use crate::stats::per;

/// Process to measure, `name=PID` on the command line.
#[derive(Debug, Clone)]
pub struct WatchedProcess {
    /// Name in the report.
    pub name: String,
    /// Process id.
    pub pid: u32,
}

impl FromStr for WatchedProcess {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        let parsed = text.split_once('=').and_then(|(name, pid)| Some((name, pid.parse().ok()?)));
        let (name, pid) = parsed.ok_or_else(|| LoadError::InvalidProcess(text.to_owned()))?;
        Ok(Self { name: name.to_owned(), pid })
    }
}

/// Resources used by a process.
#[derive(Debug, Clone, Serialize)]
pub struct Cost {
    /// Name of the process.
    pub name: String,
    /// CPU time per unit of work, in microseconds.
    pub cpu_us_each: f64,
    /// Growth of resident memory per unit of work, in bytes.
    pub grown_bytes_each: f64,
    /// Resident memory at the end, in bytes.
    pub resident_bytes: u64,
    /// Anonymous part of it (heap and stacks), in bytes.
    pub anonymous_bytes: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, cpu, grown) = (&self.name, self.cpu_us_each, self.grown_bytes_each);
        let (resident, anonymous) = (self.resident_bytes >> 10, self.anonymous_bytes >> 10);
        write!(f, "{name}: CPU {cpu:.2} µs each, grown {grown:.0} B each, RSS {resident} KB (anonymous {anonymous} KB)")
    }
}

/// Footprints before the load.
#[derive(Debug)]
pub(crate) struct Watch<'a>(Vec<(&'a WatchedProcess, Footprint)>);

impl<'a> Watch<'a> {
    pub(crate) fn start(watched: &'a [WatchedProcess]) -> Result<Self, FootprintError> {
        let looks = watched.iter().map(|process| Ok((process, Footprint::of(process.pid)?)));
        looks.collect::<Result<_, _>>().map(Self)
    }

    /// Resources used by each process since the start, per unit of work.
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
