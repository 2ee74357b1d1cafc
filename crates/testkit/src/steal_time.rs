//! What a measurement on a virtual machine has to be read with.

use std::io;
use std::time::Duration;

use procfs::{CurrentSI as _, KernelStats};

/// Processor time that this machine wanted and its host gave to others, since it started, of all its processors
/// together. Nothing where there is no host, or it does not say.
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
