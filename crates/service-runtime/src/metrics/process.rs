//! Metrics of the process: its version, resource use from `/proc`, dropped log lines.

use procfs::WithCurrentSystemInfo as _;
use procfs::process::Process as Proc;
use prometheus::{Counter, IntCounter, IntGauge};

use super::{Registry, to_gauge};
use crate::telemetry;

crate::metric_table! {
    /// Metrics of every process, under the names of Prometheus' own clients.
    pub enum ProcessMetric in "process_" {
        StartTime: Gauge "start_time_seconds" [] "Start time of the process, in seconds since 1970.";
        Cpu: Counter "cpu_seconds_total" [] "User and system CPU time, in seconds.";
        Resident: Gauge "resident_memory_bytes" [] "Resident memory, in bytes.";
        OpenFiles: Gauge "open_fds" [] "Open file descriptors, sockets included.";
        MaxFiles: Gauge "max_fds" [] "Maximum number of open file descriptors.";
        Threads: Gauge "threads" [] "Number of threads.";
        LogLinesDropped: Counter "log_lines_dropped_total" []
            "Log lines dropped because standard output was not read.";
    }
}

crate::metric_table! {
    /// Identity of the program; the workspace has one version.
    pub enum BuildMetric in "psicoia_" {
        Info: Gauge "build_info" ["version"] "Always 1, for the version of the program.";
    }
}

/// Handles of the process metrics.
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
    /// Registers the metrics. Takes the current time for the process start.
    pub fn new(registry: &Registry) -> Self {
        registry.gauge(ProcessMetric::StartTime).set(now());
        registry.gauges(BuildMetric::Info).with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Self {
            cpu: registry.fractional_counter(ProcessMetric::Cpu),
            resident: registry.gauge(ProcessMetric::Resident),
            open_files: registry.gauge(ProcessMetric::OpenFiles),
            max_files: registry.gauge(ProcessMetric::MaxFiles),
            threads: registry.gauge(ProcessMetric::Threads),
            log_lines_dropped: registry.counter(ProcessMetric::LogLinesDropped),
        }
    }

    /// Samples `/proc`; slower with many open files. Unreadable values keep their last state.
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

#[expect(clippy::disallowed_methods, reason = "the edge: the start time is calendar time")]
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
