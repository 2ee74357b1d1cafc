//! Steal time of a virtual machine, for the interpretation of benchmarks.

use std::io;
use std::time::Duration;

use procfs::{CurrentSI as _, KernelStats};

/// Returns the steal time of all processors since boot: time in which the host ran other guests. Zero on hardware, or
/// if the host does not report it.
///
/// # Errors
///
/// `/proc/stat` cannot be read.
pub fn steal_time() -> io::Result<Duration> {
    let stats = KernelStats::current().map_err(io::Error::other)?;
    Ok(stats.total.steal_duration().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_monotonic() {
        let before = steal_time().unwrap();
        assert!(before <= steal_time().unwrap());
    }
}
