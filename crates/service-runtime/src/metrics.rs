//! Metric tables and the Prometheus text format.
//!
//! A service lists its metrics in one [`metric_table!`](crate::metric_table), resolves the handles and labels at
//! startup, and then counts with one atomic addition. Labels have few, fixed values: never a person, a client address,
//! or a session.

mod process;

use prometheus::core::Collector;
use prometheus::{HistogramOpts, Opts, TextEncoder};

pub use process::{BuildMetric, Process, ProcessMetric};
pub use prometheus::{Counter, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// Histogram buckets for disk and network latencies: upper bounds in seconds.
pub const IO_SECONDS_BUCKETS: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0];
/// Histogram buckets for latencies of a language model: upper bounds in seconds.
pub const MODEL_SECONDS_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

/// Converts a count to a gauge value; saturates at `i64::MAX`.
pub fn to_gauge(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

const VALID: &str = "names of a metric table are valid, and each is made once";

/// Prometheus metric type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Monotonic.
    Counter,
    /// Can decrease.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

/// Static description of a metric. The name is an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricDescription {
    /// Full name, unit last.
    pub name: &'static str,
    /// Type of the metric.
    pub kind: MetricKind,
    /// Label names.
    pub labels: &'static [&'static str],
    /// Help text.
    pub help: &'static str,
}

/// A metric of a [`metric_table!`](crate::metric_table).
pub trait MetricDescriptor: Copy {
    /// Returns the description of the metric.
    fn description(self) -> MetricDescription;
}

/// Declares the metrics of a service as an enum, one per line: variant, type, name after the prefix, labels and help
/// text.
///
/// ```
/// use service_runtime::metric_table;
/// use service_runtime::metrics::Registry;
///
/// metric_table! {
///     /// Metrics of the example.
///     enum Metric in "example_" {
///         Lines: Counter "lines_total" [] "Lines read.";
///     }
/// }
///
/// let registry = Registry::default();
/// let lines = registry.counter(Metric::Lines);
/// lines.inc();
/// assert!(registry.text().contains("example_lines_total 1\n"));
/// ```
#[macro_export]
macro_rules! metric_table {
    (
        $(#[$doc:meta])*
        $visibility:vis enum $table:ident in $prefix:literal {
            $($metric:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visibility enum $table {
            $(#[doc = $help] $metric,)+
        }

        impl $table {
            /// All metrics, in the order of the table.
            $visibility const ALL: &[Self] = &[$(Self::$metric,)+];
        }

        impl $crate::metrics::MetricDescriptor for $table {
            fn description(self) -> $crate::metrics::MetricDescription {
                use $crate::metrics::{MetricDescription, MetricKind};
                match self {
                    $(Self::$metric => MetricDescription {
                        name: concat!($prefix, $name),
                        kind: MetricKind::$kind,
                        labels: &[$($label),*],
                        help: $help,
                    },)+
                }
            }
        }
    };
}

/// Metric registry of a process. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Registry(prometheus::Registry);

impl Registry {
    /// Registers a counter.
    pub fn counter(&self, metric: impl MetricDescriptor) -> IntCounter {
        self.register(IntCounter::with_opts(opts(metric)))
    }

    /// Registers a family of counters. Labels must be resolved at startup, so that counting needs no look-up.
    pub fn counters(&self, metric: impl MetricDescriptor) -> IntCounterVec {
        self.register(IntCounterVec::new(opts(metric), metric.description().labels))
    }

    /// Registers a counter of fractional values.
    pub fn fractional_counter(&self, metric: impl MetricDescriptor) -> Counter {
        self.register(Counter::with_opts(opts(metric)))
    }

    /// Registers a gauge.
    pub fn gauge(&self, metric: impl MetricDescriptor) -> IntGauge {
        self.register(IntGauge::with_opts(opts(metric)))
    }

    /// Registers a family of gauges. Labels must be resolved at startup.
    pub fn gauges(&self, metric: impl MetricDescriptor) -> IntGaugeVec {
        self.register(IntGaugeVec::new(opts(metric), metric.description().labels))
    }

    /// Registers a histogram with the upper `bounds`.
    pub fn histogram(&self, metric: impl MetricDescriptor, bounds: &[f64]) -> Histogram {
        self.register(Ok(histogram(metric, bounds)))
    }

    /// Registers a family of histograms. Labels must be resolved at startup.
    pub fn histograms(&self, metric: impl MetricDescriptor, bounds: &[f64]) -> HistogramVec {
        let options = HistogramOpts::from(opts(metric)).buckets(bounds.to_vec());
        self.register(HistogramVec::new(options, metric.description().labels))
    }

    /// Registers a metric created before the registry.
    pub fn adopt<C: Collector + Clone + 'static>(&self, collector: &C) {
        self.register(Ok(collector.clone()));
    }

    /// Renders all metrics in the Prometheus text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        TextEncoder::new().encode_utf8(&self.0.gather(), &mut text).expect("a string takes all that is written to it");
        text
    }

    fn register<C: Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> C {
        let registered = collector.and_then(|collector| {
            self.0.register(Box::new(collector.clone()))?;
            Ok(collector)
        });
        registered.expect(VALID)
    }
}

/// Creates a histogram for [`Registry::adopt`].
pub fn histogram(metric: impl MetricDescriptor, bounds: &[f64]) -> Histogram {
    let options = HistogramOpts::from(opts(metric)).buckets(bounds.to_vec());
    Histogram::with_opts(options).expect(VALID)
}

/// Creates a counter for [`Registry::adopt`].
pub fn counter(metric: impl MetricDescriptor) -> IntCounter {
    IntCounter::with_opts(opts(metric)).expect(VALID)
}

fn opts(metric: impl MetricDescriptor) -> Opts {
    let MetricDescription { name, help, .. } = metric.description();
    Opts::new(name, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    metric_table! {
        enum Metric in "test_" {
            Things: Counter "things_total" ["kind"] "Things that happened, by kind.";
            Wait: Histogram "wait_seconds" [] "Waits, in seconds.";
        }
    }

    #[test]
    fn renders_prometheus_text_format() {
        let registry = Registry::default();
        let things = registry.counters(Metric::Things);
        things.with_label_values(&["good"]).inc_by(3);
        registry.histogram(Metric::Wait, &[0.5, 1.0]).observe(0.7);
        let want = "# HELP test_things_total Things that happened, by kind.\n\
            # TYPE test_things_total counter\n\
            test_things_total{kind=\"good\"} 3\n\
            # HELP test_wait_seconds Waits, in seconds.\n\
            # TYPE test_wait_seconds histogram\n\
            test_wait_seconds_bucket{le=\"0.5\"} 0\n\
            test_wait_seconds_bucket{le=\"1\"} 1\n\
            test_wait_seconds_bucket{le=\"+Inf\"} 1\n\
            test_wait_seconds_sum 0.7\n\
            test_wait_seconds_count 1\n";
        assert_eq!(registry.text(), want);
        assert_eq!((Metric::ALL.len(), Metric::Things.description().kind), (2, MetricKind::Counter));
    }
}
