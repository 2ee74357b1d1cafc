//! Scrapes of admin ports: `/metrics` and `/readyz`.

use std::collections::BTreeMap;

use futures_util::future::try_join;
use prometheus_parse::{Labels, Scrape, Value};
use serde::Deserialize;
use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::http::{Http, HttpError, Response};

/// Metrics and readiness of one service at one time.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) readiness: Readiness,
    scrape: Scrape,
}

/// Body of `/readyz`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Readiness {
    pub(crate) status: String,
    pub(crate) checks: Vec<Check>,
}

/// A check of `/readyz`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) reason: Option<String>,
    #[serde(default)]
    pub(crate) detail: Option<String>,
}

/// Cumulative counts of a histogram by upper bound, in the order of the bounds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Buckets(Vec<(f64, f64)>);

/// Failure of a scrape.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScrapeError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("/metrics answers with status {0}")]
    Status(u16),
    #[error("/metrics is not Prometheus' text format, or /readyz not a PsicoIA service's")]
    Malformed,
}

impl Sample {
    /// Scrapes the service at `endpoint`.
    pub(crate) async fn take(http: &Http, endpoint: &Endpoint) -> Result<Self, ScrapeError> {
        let (metrics, ready) = (endpoint.url("/metrics"), endpoint.url("/readyz"));
        let (metrics, ready) = try_join(http.get(&metrics), http.get(&ready)).await?;
        Self::parse(&metrics, &ready, Instant::now())
    }

    fn parse(metrics: &Response, ready: &Response, at: Instant) -> Result<Self, ScrapeError> {
        if metrics.status != 200 {
            return Err(ScrapeError::Status(metrics.status));
        }
        let lines = metrics.body.lines().map(|line| Ok(line.to_owned()));
        let scrape = Scrape::parse(lines).map_err(|_| ScrapeError::Malformed)?;
        let readiness = serde_json::from_str(&ready.body).map_err(|_| ScrapeError::Malformed)?;
        Ok(Self { at, readiness, scrape })
    }

    /// Returns each value of a counter or gauge with its labels.
    pub(crate) fn series<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = (&'a Labels, f64)> {
        self.samples(metric).filter_map(|sample| match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => Some((&sample.labels, value)),
            Value::Histogram(_) | Value::Summary(_) => None,
        })
    }

    /// Returns the sum over all labels; 0 without a series.
    pub(crate) fn sum(&self, metric: &str) -> f64 {
        total(self.series(metric))
    }

    /// Returns the sum of the series whose `label` is one of `values`.
    pub(crate) fn sum_where(&self, metric: &str, label: &str, values: &[&str]) -> f64 {
        let is_wanted = |labels: &Labels| labels.get(label).is_some_and(|value| values.contains(&value));
        total(self.series(metric).filter(|(labels, _)| is_wanted(labels)))
    }

    /// Returns the values by `label`.
    pub(crate) fn by_label(&self, metric: &str, label: &str) -> BTreeMap<String, f64> {
        self.series(metric).filter_map(|(labels, value)| Some((labels.get(label)?.to_owned(), value))).collect()
    }

    pub(crate) fn has(&self, metric: &str) -> bool {
        self.samples(metric).next().is_some()
    }

    /// Returns a histogram without labels; empty without one.
    pub(crate) fn histogram(&self, metric: &str) -> Buckets {
        let found = self.samples(metric).find_map(|sample| match &sample.value {
            Value::Histogram(counts) => Some(counts.iter().map(|it| (it.less_than, it.count)).collect()),
            Value::Counter(_) | Value::Gauge(_) | Value::Untyped(_) | Value::Summary(_) => None,
        });
        Buckets(found.unwrap_or_default())
    }

    fn samples<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = &'a prometheus_parse::Sample> {
        self.scrape.samples.iter().filter(move |sample| sample.metric == metric)
    }
}

/// Adds the values up. `sum` of no floating-point values would be -0.
fn total<'a>(series: impl Iterator<Item = (&'a Labels, f64)>) -> f64 {
    series.fold(0.0, |sum, (_, value)| sum + value)
}

impl Buckets {
    /// Returns the observations since `earlier`. A counter that fell belongs to a restarted process: then all count.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let is_later =
            self.0.len() == earlier.0.len() && self.0.iter().zip(&earlier.0).all(|(now, then)| then.1 <= now.1);
        if !is_later {
            return self.clone();
        }
        Self(self.0.iter().zip(&earlier.0).map(|((bound, now), (_, then))| (*bound, now - then)).collect())
    }

    /// Adds the observations of another process. Both have the same bounds, or one is empty.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
        } else {
            self.0.iter_mut().zip(&other.0).for_each(|(sum, (_, count))| sum.1 += count);
        }
    }

    /// Estimates a quantile by linear interpolation within its bucket, as Prometheus' `histogram_quantile` does.
    /// `None` without observations.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.0.last()?.1;
        let rank = quantile * total;
        let at = self.0.iter().position(|(_, count)| rank <= *count).filter(|_| 0.0 < total)?;
        let (lower, below) = at.checked_sub(1).map_or((0.0, 0.0), |before| self.0[before]);
        let (upper, count) = self.0[at];
        if upper.is_infinite() || count <= below {
            return Some(lower);
        }
        Some(lower + (upper - lower) * (rank - below) / (count - below))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Sample of a service that is ready.
    pub(crate) fn sample(metrics: &str, at: Instant) -> Sample {
        let response = |body: &str| Response { status: 200, date: None, body: body.to_owned() };
        Sample::parse(&response(metrics), &response(r#"{"status":"ready","checks":[]}"#), at).unwrap()
    }

    const TEXT: &str = r#"# TYPE turns counter
turns{source="llm"} 5
turns{source="companion"} 2
# TYPE wait histogram
wait_bucket{le="1"} 4
wait_bucket{le="2"} 8
wait_bucket{le="+Inf"} 10
wait_sum 12
wait_count 10
"#;

    #[tokio::test]
    async fn reads_counters_and_histograms() {
        let sample = sample(TEXT, Instant::now());
        assert_eq!(
            (sample.sum("turns"), sample.sum_where("turns", "source", &["llm"]), sample.sum("none")),
            (7.0, 5.0, 0.0)
        );
        assert_eq!(sample.by_label("turns", "source")["companion"], 2.0);
        assert!(sample.has("turns") && !sample.has("none") && sample.sum("none").is_sign_positive());
        let wait = sample.histogram("wait");
        assert_eq!(wait, Buckets(vec![(1.0, 4.0), (2.0, 8.0), (f64::INFINITY, 10.0)]));
    }

    #[test]
    fn estimates_quantiles() {
        let buckets = Buckets(vec![(1.0, 4.0), (2.0, 8.0), (f64::INFINITY, 10.0)]);
        for (quantile, want) in [(0.2, 0.5), (0.4, 1.0), (0.5, 1.25), (0.95, 2.0)] {
            assert_eq!(buckets.quantile(quantile), Some(want), "{quantile}");
        }
        assert_eq!((Buckets::default().quantile(0.5), buckets.since(&buckets).quantile(0.5)), (None, None));
    }

    #[test]
    fn subtracts_and_adds() {
        let [early, late] = [1.0, 3.0].map(|count| Buckets(vec![(1.0, count), (f64::INFINITY, count)]));
        assert_eq!(late.since(&early), Buckets(vec![(1.0, 2.0), (f64::INFINITY, 2.0)]));
        assert_eq!(early.since(&late), early, "the process was restarted");
        let mut sum = Buckets::default();
        sum.add(&early);
        sum.add(&late);
        assert_eq!(sum, Buckets(vec![(1.0, 4.0), (f64::INFINITY, 4.0)]));
    }

    #[test]
    fn rejects_other_services() {
        let response = |status, body: &str| Response { status, date: None, body: body.to_owned() };
        let ready = response(200, "<html>");
        assert!(matches!(Sample::parse(&response(404, ""), &ready, Instant::now()), Err(ScrapeError::Status(404))));
        assert!(matches!(Sample::parse(&response(200, ""), &ready, Instant::now()), Err(ScrapeError::Malformed)));
    }
}
