//! What a service counts, under which name, and the text that Prometheus reads.
//!
//! A service lists its metrics in one [`metric_table!`](crate::metric_table), makes a handle of each
//! when it starts, labels resolved, and then counts with an atomic addition. Labels are few and known
//! beforehand: nothing of a person, an address of one, or a session.

mod process;

use prometheus::core::Collector;
use prometheus::{HistogramOpts, Opts, TextEncoder};

pub use process::{Process, ProcessMetric};
pub use prometheus::{Counter, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// Upper bounds of the buckets for what takes as long as a disk or a network, in seconds.
pub const IO_SECONDS_BUCKETS: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0];
/// Upper bounds of the buckets for what takes as long as a language model, in seconds.
pub const MODEL_SECONDS_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

/// A count as a gauge's value: the largest there is if it is larger still.
pub fn to_gauge(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

const VALID: &str = "names of a metric table are valid, and each is made once";

/// How a metric changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts values by size.
    Histogram,
}

/// What there is to know of a metric. Its name is an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricDescription {
    /// Its name, unit last.
    pub name: &'static str,
    /// How it changes.
    pub kind: MetricKind,
    /// What its series differ in.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// A metric out of a [`metric_table!`](crate::metric_table).
pub trait MetricDescriptor: Copy {
    /// What there is to know of it.
    fn description(self) -> MetricDescription;
}

/// Lists the metrics of a service as an enum, one a line: its variant, kind, name behind the
/// prefix, labels and meaning.
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
            /// Every one, in the order of the table.
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

/// The metrics of a process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Registry(prometheus::Registry);

impl Registry {
    /// A number that only rises.
    pub fn counter(&self, metric: impl MetricDescriptor) -> IntCounter {
        self.register(IntCounter::with_opts(opts(metric)))
    }

    /// Numbers that only rise, one for each label. To be resolved when the service starts.
    pub fn counters(&self, metric: impl MetricDescriptor) -> IntCounterVec {
        self.register(IntCounterVec::new(opts(metric), metric.description().labels))
    }

    /// A number that only rises, with fractions.
    pub fn fractional_counter(&self, metric: impl MetricDescriptor) -> Counter {
        self.register(Counter::with_opts(opts(metric)))
    }

    /// A number that rises and falls.
    pub fn gauge(&self, metric: impl MetricDescriptor) -> IntGauge {
        self.register(IntGauge::with_opts(opts(metric)))
    }

    /// Numbers that rise and fall, one for each label. To be resolved when the service starts.
    pub fn gauges(&self, metric: impl MetricDescriptor) -> IntGaugeVec {
        self.register(IntGaugeVec::new(opts(metric), metric.description().labels))
    }

    /// How many of the values are no larger than each of `bounds`.
    pub fn histogram(&self, metric: impl MetricDescriptor, bounds: &[f64]) -> Histogram {
        self.register(Ok(histogram(metric, bounds)))
    }

    /// The same for each label. To be resolved when the service starts.
    pub fn histograms(&self, metric: impl MetricDescriptor, bounds: &[f64]) -> HistogramVec {
        let options = HistogramOpts::from(opts(metric)).buckets(bounds.to_vec());
        self.register(HistogramVec::new(options, metric.description().labels))
    }

    /// Takes in what was made before there was a registry.
    pub fn adopt<C: Collector + Clone + 'static>(&self, collector: &C) {
        self.register(Ok(collector.clone()));
    }

    /// Everything, in Prometheus' text format.
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

/// A histogram for [`Registry::adopt`].
pub fn histogram(metric: impl MetricDescriptor, bounds: &[f64]) -> Histogram {
    let options = HistogramOpts::from(opts(metric)).buckets(bounds.to_vec());
    Histogram::with_opts(options).expect(VALID)
}

/// A counter for [`Registry::adopt`].
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
