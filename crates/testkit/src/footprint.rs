//! Resource use of a process, from `/proc`: processor time and resident memory.

use std::collections::BTreeMap;
use std::time::Duration;

use procfs::process::Process;

/// The process does not exist, or its `/proc` entry is not readable.
#[derive(Debug, thiserror::Error)]
#[error("process {pid}: {source}")]
pub struct FootprintError {
    /// Process id.
    pub pid: u32,
    /// Error of `/proc`.
    pub source: procfs::ProcError,
}

/// Resource use of a process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint {
    /// Exact processor time of each live thread.
    threads: BTreeMap<i32, Duration>,
    /// Processor time of the process with its ended threads, in ticks of usually 10 ms.
    coarse: Duration,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Anonymous part of it: heap and stacks.
    pub anonymous_bytes: u64,
}

impl Footprint {
    /// Samples process `pid`.
    ///
    /// # Errors
    ///
    /// The process does not exist, or belongs to another user.
    pub fn of(pid: u32) -> Result<Self, FootprintError> {
        let look = || {
            let process = Process::new(i32::try_from(pid).unwrap_or(i32::MAX))?;
            let (stat, status) = (process.stat()?, process.status()?);
            let mut threads = BTreeMap::new();
            // A thread may end in between.
            for task in process.tasks()?.flatten() {
                if let Ok(time) = task.schedstat() {
                    threads.insert(task.tid, Duration::from_nanos(time.sum_exec_runtime));
                }
            }
            let ticks = stat.utime + stat.stime;
            let coarse = Duration::from_millis(1_000 * ticks / procfs::ticks_per_second());
            let bytes = |kilobytes: Option<u64>| kilobytes.unwrap_or_default() * 1_024;
            let (resident_bytes, anonymous_bytes) = (bytes(status.vmrss), bytes(status.rssanon));
            Ok(Self { threads, coarse, resident_bytes, anonymous_bytes })
        };
        look().map_err(|source| FootprintError { pid, source })
    }

    /// Returns the processor time used since `earlier` by all threads.
    ///
    /// Exact while no thread has ended in between (a runtime's workers stay); otherwise with the resolution of ticks.
    pub fn processor_time_since(&self, earlier: &Self) -> Duration {
        if earlier.threads.keys().any(|thread| !self.threads.contains_key(thread)) {
            return self.coarse.saturating_sub(earlier.coarse);
        }
        let sum = |footprint: &Self| footprint.threads.values().sum::<Duration>();
        sum(self).saturating_sub(sum(earlier))
    }

    /// Returns the growth of resident memory since `earlier`, in bytes; 0 if it shrank.
    pub fn growth_since(&self, earlier: &Self) -> u64 {
        self.resident_bytes.saturating_sub(earlier.resident_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::process;

    use super::*;

    #[test]
    fn sees_work_and_memory() {
        let before = Footprint::of(process::id()).unwrap();
        let mut memory = vec![0_u8; 32 << 20];
        memory.chunks_mut(4_096).for_each(|page| page[0] = 1);
        let mut sum = 0_u64;
        for number in 0..20_000_000_u64 {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(number));
        }
        let after = Footprint::of(process::id()).unwrap();
        assert!(Duration::from_millis(1) < after.processor_time_since(&before), "{before:?} {after:?}");
        assert!(24 << 20 < after.growth_since(&before), "{before:?} {after:?}");
        assert!(after.anonymous_bytes <= after.resident_bytes);
        black_box(memory);
    }

    #[test]
    fn no_such_process() {
        assert!(Footprint::of(u32::MAX).is_err());
    }
}
