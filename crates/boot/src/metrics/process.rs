//! What the process uses, read from `/proc` on request, and log lines it has lost.

use procfs::WithCurrentSystemInfo as _;
use procfs::process::Process as Proc;
use prometheus::{Counter, IntCounter, IntGauge};

use super::{Registry, to_gauge};
use crate::telemetry;

crate::metric_table! {
    /// What every process tells, under the names that Prometheus' own clients use.
    pub enum ProcessMetric in "process_" {
        StartTime: Gauge "start_time_seconds" [] "When the process started, in seconds since 1970.";
        Cpu: Counter "cpu_seconds_total" [] "Processor time used, in seconds.";
        Resident: Gauge "resident_memory_bytes" [] "Memory in use that is not swapped out, in bytes.";
        OpenFiles: Gauge "open_fds" [] "Open files, sockets included.";
        MaxFiles: Gauge "max_fds" [] "Open files that are allowed at most.";
        Threads: Gauge "threads" [] "Threads.";
        LogLinesDropped: Counter "log_lines_dropped_total" []
            "Log lines that were dropped because standard output was not read.";
    }
}

/// What this process uses.
#[derive(Debug)]
pub struct Process {
    cpu: Counter,
    resident: IntGauge,
    open_files: IntGauge,
    max_files: IntGauge,
    threads: IntGauge,
    log_lines_dropped: IntCounter,
}

impl Process {
    /// Its metrics in `registry`. The process counts as started now.
    pub fn new(registry: &Registry) -> Self {
        registry.gauge(ProcessMetric::StartTime).set(now());
        Self {
            cpu: registry.fractional_counter(ProcessMetric::Cpu),
            resident: registry.gauge(ProcessMetric::Resident),
            open_files: registry.gauge(ProcessMetric::OpenFiles),
            max_files: registry.gauge(ProcessMetric::MaxFiles),
            threads: registry.gauge(ProcessMetric::Threads),
            log_lines_dropped: registry.counter(ProcessMetric::LogLinesDropped),
        }
    }

    /// Looks again. Reads files, and takes longer with many open ones. What cannot be read stays as it was.
    pub fn refresh(&self) {
        let dropped = telemetry::dropped_lines();
        self.log_lines_dropped.inc_by(dropped.saturating_sub(self.log_lines_dropped.get()));
        let Ok(process) = Proc::myself() else { return };
        if let Ok(stat) = process.stat() {
            #[expect(clippy::cast_precision_loss, reason = "centuries of processor time have no hundredths")]
            let cpu = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
            self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
            self.resident.set(to_gauge(stat.rss_bytes().get()));
            self.threads.set(stat.num_threads);
        }
        if let Ok(count) = process.fd_count() {
            self.open_files.set(to_gauge(count as u64));
        }
        if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            self.max_files.set(to_gauge(most));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge: a start is told in calendar time")]
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| to_gauge(since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_own_process() {
        let registry = Registry::default();
        let process = Process::new(&registry);
        process.refresh();
        let first = process.cpu.get();
        process.refresh();
        assert!(first <= process.cpu.get());
        assert!(100_000 < process.resident.get(), "{}", process.resident.get());
        assert!(2 < process.open_files.get() && process.open_files.get() <= process.max_files.get());
        assert!(0 < process.threads.get());
    }
}
