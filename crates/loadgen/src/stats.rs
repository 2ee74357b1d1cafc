//! Latency histograms.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Upper bound of recorded values: two minutes.
const MAX_NANOS: u64 = 120_000_000_000;

/// Latency histogram with three significant digits.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, MAX_NANOS, 3);
        Self(histogram.expect("the bounds are constants that are in order"))
    }
}

impl Latency {
    /// Records a latency; saturates at the upper bound.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Computes the percentiles; `None` if empty.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let at = |quantile| milliseconds(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Percentiles {
            count: self.0.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            max_ms: milliseconds(self.0.max()),
        })
    }
}

/// Percentiles of a [`Latency`], in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub count: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_ms, p90_ms, p99_ms, max_ms, .. } = self;
        write!(f, "p50 {p50_ms:.3} ms, p90 {p90_ms:.3} ms, p99 {p99_ms:.3} ms, max {max_ms:.3} ms")
    }
}

#[expect(clippy::cast_precision_loss, reason = "two minutes of nanoseconds fit a float's 53 bits")]
fn milliseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// `amount / count`; 0 for no count.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn per(amount: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { amount / count as f64 }
}

/// `count` per second.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn rate(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computes_percentiles() {
        let mut latency = Latency::default();
        assert!(latency.percentiles().is_none());
        (1..=100).for_each(|ms| latency.record(Duration::from_millis(ms)));
        latency.record(Duration::from_secs(1_000));
        let percentiles = latency.percentiles().unwrap();
        assert_eq!(percentiles.count, 101);
        assert!((percentiles.p50_ms - 51.0).abs() < 0.2, "{percentiles}");
        assert!((percentiles.p99_ms - 100.0).abs() < 0.2, "{percentiles}");
        assert!(119_000.0 < percentiles.max_ms, "{percentiles}");
    }
}
