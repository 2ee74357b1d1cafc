//! Report of a comparison.

use std::fmt;

use serde::Serialize;

use crate::bridge::Options;

/// Reference row.
const PEER: &str = "HAProxy";

/// One round of a route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) p50_us: f64,
    pub(super) rate_per_second: f64,
    pub(super) cpu_us_each: f64,
}

/// All rounds of a route.
#[derive(Debug)]
pub(super) struct RouteSamples {
    name: &'static str,
    pub(super) rounds: Vec<Sample>,
    pub(super) idle_bytes_each: Option<f64>,
}

impl RouteSamples {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, rounds: Vec::new(), idle_bytes_each: None }
    }
}

/// Spread of a value over all rounds.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(at(middle.saturating_sub(1)), at(middle))
        } else {
            at(middle)
        };
        Self { min: at(0), median, max: at(values.len().saturating_sub(1)) }
    }
}

/// Measured value of a route, and its ratio to HAProxy's of the same round.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Measure {
    pub value: Spread,
    pub ratio: Option<Spread>,
}

impl Measure {
    fn of(own: &[Sample], peer: Option<&[Sample]>, field: impl Fn(&Sample) -> f64) -> Self {
        let ratios = |peer: &[Sample]| Spread::of(own.iter().zip(peer).map(|(own, peer)| field(own) / field(peer)));
        Self { value: Spread::of(own.iter().map(&field)), ratio: peer.map(ratios) }
    }
}

/// Results of one route.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Median round trip on one connection, in microseconds.
    pub round_trip_p50_us: Measure,
    /// Round trips per second on all connections together.
    pub rate_per_second: Measure,
    /// CPU time of the bridge per round trip, in microseconds.
    pub cpu_us_each: Measure,
    /// Memory of the bridge per idle connection, in bytes.
    pub idle_bytes_each: Option<f64>,
    /// Ratio of that to HAProxy's.
    pub idle_ratio: Option<f64>,
}

/// The whole comparison.
#[derive(Debug, Clone, Serialize)]
pub struct BridgeReport {
    /// Measurements of each route.
    pub rounds: usize,
    /// Connections in the throughput phase.
    pub connections: usize,
    /// Connections in the memory phase.
    pub idle: usize,
    /// The routes.
    pub rows: Vec<Row>,
}

impl BridgeReport {
    pub(super) fn new(options: &Options, samples: &[RouteSamples]) -> Self {
        let peer = samples.iter().find(|samples| samples.name == PEER);
        let rows = samples.iter().map(|own| {
            let peer_rounds = peer.map(|peer| peer.rounds.as_slice());
            let peer_bytes = peer.and_then(|peer| peer.idle_bytes_each);
            Row {
                name: own.name,
                round_trip_p50_us: Measure::of(&own.rounds, peer_rounds, |sample| sample.p50_us),
                rate_per_second: Measure::of(&own.rounds, peer_rounds, |sample| sample.rate_per_second),
                cpu_us_each: Measure::of(&own.rounds, peer_rounds, |sample| sample.cpu_us_each),
                idle_bytes_each: own.idle_bytes_each,
                idle_ratio: own.idle_bytes_each.zip(peer_bytes).map(|(own, peer)| own / peer),
            }
        });
        let (rounds, connections, idle) = (options.rounds, options.connections, options.idle);
        Self { rounds, connections, idle, rows: rows.collect() }
    }
}

impl fmt::Display for BridgeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, connections, idle, rows } = self;
        writeln!(f, "{rounds} rounds; median (best), then as a multiple of {PEER}'s in the same round")?;
        writeln!(
            f,
            "| bridge | p50, 1 connection | × | rate, {connections} connections | × | CPU per round trip | × \
             | memory, {idle} idle | × |"
        )?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
        for row in rows {
            let (p50, rate, cpu) = (row.round_trip_p50_us, row.rate_per_second, row.cpu_us_each);
            let bytes = row.idle_bytes_each.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes:.0} B"));
            writeln!(
                f,
                "| {} | {:.1} ({:.1}) µs | {} | {:.0} ({:.0})/s | {} | {:.2} ({:.2}) µs | {} | {bytes} | {} |",
                row.name,
                p50.value.median,
                p50.value.min,
                lower_is_better(p50.ratio),
                rate.value.median,
                rate.value.max,
                higher_is_better(rate.ratio),
                cpu.value.median,
                cpu.value.min,
                lower_is_better(cpu.ratio),
                row.idle_ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            )?;
        }
        Ok(())
    }
}

/// Formats a ratio with its minimum.
fn lower_is_better(ratio: Option<Spread>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2} ({:.2})", ratio.median, ratio.min))
}

/// Formats a ratio with its maximum.
fn higher_is_better(ratio: Option<Spread>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2} ({:.2})", ratio.median, ratio.max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_within_each_round() {
        let samples = |name, p50s: [f64; 3]| RouteSamples {
            name,
            rounds: p50s.map(|p50_us| Sample { p50_us, rate_per_second: 1.0, cpu_us_each: 1.0 }).to_vec(),
            idle_bytes_each: Some(p50s[0]),
        };
        let options = Options {
            loadgen: "x".into(),
            gateway: None,
            haproxy: None,
            rounds: 3,
            phase: std::time::Duration::ZERO,
            connections: 1,
            idle: 1,
            settle: std::time::Duration::ZERO,
            line_bytes: 64,
        };
        let report = BridgeReport::new(&options, &[samples(PEER, [2.0, 4.0, 8.0]), samples("own", [4.0, 4.0, 4.0])]);
        let ratio = report.rows[1].round_trip_p50_us.ratio.unwrap();
        assert_eq!([ratio.min, ratio.median, ratio.max], [0.5, 1.0, 2.0]);
        assert_eq!(report.rows[1].idle_ratio, Some(2.0));
        assert!(report.to_string().contains("| own | 4.0 (4.0) µs | 1.00 (0.50) |"), "{report}");
        assert!((Spread::of([1.0, 3.0]).median - 2.0).abs() < 1e-9);
    }
}
