//! Report of a pressure run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use testkit::footprint::Footprint;

use super::attack_load::Outcomes;
use super::{Options, PhaseSample};
use crate::disk::DiskBaseline;
use crate::stats::Percentiles;

/// Resources used by a process in one phase.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ProcessUsage {
    /// CPU time as a fraction of one processor.
    pub processors: f64,
    pub resident_bytes_before: u64,
    pub resident_bytes_peak: u64,
    pub resident_bytes_after: u64,
}

impl ProcessUsage {
    pub(super) fn new(before: &Footprint, after: &Footprint, peak: u64, took: Duration) -> Self {
        Self {
            processors: after.processor_time_since(before).as_secs_f64() / took.as_secs_f64(),
            resident_bytes_before: before.resident_bytes,
            resident_bytes_peak: peak,
            resident_bytes_after: after.resident_bytes,
        }
    }
}

/// Kind of phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// No attack.
    Quiet,
    /// Attack on other services of the same machine: the machine's share of the slowdown.
    #[serde(rename = "elsewhere")]
    OtherStack,
    /// Attack on the services of the users.
    Pressure,
}

impl PhaseKind {
    /// Order of the phases.
    pub(super) const CYCLE: [Self; 3] = [Self::Quiet, Self::OtherStack, Self::Pressure];
}

impl fmt::Display for PhaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quiet => "quiet",
            Self::OtherStack => "elsewhere",
            Self::Pressure => "pressure",
        })
    }
}

/// Results of one phase.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Row {
    pub kind: PhaseKind,
    pub turns: u64,
    /// Failed turns by error code; also `connection_lost` and `no_answer`.
    pub errors: BTreeMap<String, u64>,
    pub accepted: Option<Percentiles>,
    pub first: Option<Percentiles>,
    pub done: Option<Percentiles>,
    pub core: ProcessUsage,
    pub gateway: ProcessUsage,
    pub load: ProcessUsage,
    /// Steal time as a fraction of one processor: unless it is near 0, the host causes the
    /// latencies.
    pub stolen: f64,
}

/// Percentile of a phase in milliseconds; `None` without samples.
type Measure = fn(&Row) -> Option<f64>;

/// Compared percentiles.
const MEASURES: [(&str, Measure); 6] = [
    ("accepted p50", |row| row.accepted.map(|all| all.p50_ms)),
    ("accepted p99", |row| row.accepted.map(|all| all.p99_ms)),
    ("first delta p50", |row| row.first.map(|all| all.p50_ms)),
    ("first delta p99", |row| row.first.map(|all| all.p99_ms)),
    ("done p50", |row| row.done.map(|all| all.p50_ms)),
    ("done p99", |row| row.done.map(|all| all.p99_ms)),
];

/// Comparison of a latency percentile between the kinds of phases.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Ratio {
    #[serde(rename = "what")]
    pub percentile: &'static str,
    /// Medians over the phases, in milliseconds.
    pub quiet_ms: f64,
    #[serde(rename = "elsewhere_ms")]
    pub other_stack_ms: f64,
    pub pressure_ms: f64,
    /// Ratio of pressure to quiet: the slowdown that users notice.
    pub of_quiet: f64,
    /// Ratio of pressure to elsewhere: the slowdown without the machine's share.
    #[serde(rename = "of_elsewhere")]
    pub of_other_stack: f64,
}

/// Results of a run.
#[derive(Debug, Clone, Serialize)]
pub struct PressureReport {
    /// Number of users.
    pub people: usize,
    /// Duration of a phase.
    pub phase_seconds: f64,
    /// Niceness of the attackers' thread.
    #[serde(rename = "siege_nice")]
    pub attack_nice: u8,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Baseline of the database's disk.
    pub disk: DiskBaseline,
    /// Phases in their order.
    pub rows: Vec<Row>,
    /// Comparisons between the kinds of phases.
    pub ratios: Vec<Ratio>,
    /// Outcomes of the attackers, by attack.
    #[serde(rename = "fates")]
    pub outcomes: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// Close reasons logged by the core and the gateway.
    pub endings: [BTreeMap<String, u64>; 2],
}

impl PressureReport {
    pub(super) fn new(
        options: &Options,
        disk: DiskBaseline,
        samples: &[PhaseSample],
        outcomes: Outcomes,
        logs: [Vec<String>; 2],
    ) -> Self {
        let rows: Vec<Row> = samples.iter().map(Row::new).collect();
        Self {
            people: options.people,
            phase_seconds: options.phase.as_secs_f64(),
            attack_nice: options.attack_nice,
            seed: options.seed,
            disk,
            ratios: MEASURES.iter().map(|(percentile, measure)| Ratio::new(percentile, &rows, *measure)).collect(),
            rows,
            outcomes: outcomes.into_inner(),
            endings: logs.map(|lines| endings(&lines)),
        }
    }
}

impl Row {
    fn new(sample: &PhaseSample) -> Self {
        let PhaseSample { kind, tally, parts: [core, gateway, load], stolen } = sample;
        Self {
            kind: *kind,
            turns: tally.turns,
            errors: tally.errors.clone(),
            accepted: tally.accepted.percentiles(),
            first: tally.first.percentiles(),
            done: tally.done.percentiles(),
            core: *core,
            gateway: *gateway,
            load: *load,
            stolen: *stolen,
        }
    }
}

impl Ratio {
    fn new(percentile: &'static str, rows: &[Row], measure: Measure) -> Self {
        let [quiet_ms, other_stack_ms, pressure_ms] = PhaseKind::CYCLE.map(|kind| median(rows, kind, measure));
        let of = |other: f64| if other == 0.0 { 0.0 } else { pressure_ms / other };
        Self {
            percentile,
            quiet_ms,
            other_stack_ms,
            pressure_ms,
            of_quiet: of(quiet_ms),
            of_other_stack: of(other_stack_ms),
        }
    }
}

/// Median over the phases of one kind; of an even number, the mean of the middle two.
fn median(rows: &[Row], kind: PhaseKind, measure: Measure) -> f64 {
    let mut values: Vec<f64> = rows.iter().filter(|row| row.kind == kind).filter_map(measure).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        Some(upper) if values.len().is_multiple_of(2) => f64::midpoint(values[middle - 1], *upper),
        Some(middle) => *middle,
        None => 0.0,
    }
}

/// Counts the close reasons in log lines.
fn endings(lines: &[String]) -> BTreeMap<String, u64> {
    let mut endings = BTreeMap::new();
    let reasons = lines.iter().filter_map(|line| line.split_once("\"close.reason\":\"")?.1.split_once('"'));
    for (reason, _) in reasons {
        *endings.entry(reason.to_owned()).or_default() += 1;
    }
    endings
}

impl fmt::Display for PressureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { people, phase_seconds, attack_nice, seed, disk, .. } = self;
        writeln!(
            f,
            "{people} people, phases of {phase_seconds:.0} s, those in the way at nice {attack_nice}, seed {seed}; \
             milliseconds as p50 / p99 / max"
        )?;
        writeln!(f, "disk: {disk}")?;
        writeln!(
            f,
            "| phase | turns | failed | accepted | first delta | done | CPU core, gateway, load, stolen \
             | RSS core, before, peak, after | RSS gateway |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        )?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        for Ratio { percentile, quiet_ms, other_stack_ms, pressure_ms, of_quiet, of_other_stack } in &self.ratios {
            writeln!(
                f,
                "{percentile}: quiet {quiet_ms:.2} ms, pressure elsewhere {other_stack_ms:.2} ms, under pressure \
                 {pressure_ms:.2} ms: × {of_quiet:.2} of quiet, × {of_other_stack:.2} of elsewhere"
            )?;
        }
        for (label, outcomes) in &self.outcomes {
            writeln!(f, "{label}: {}", counts(outcomes))?;
        }
        let [core, gateway] = &self.endings;
        writeln!(f, "connections of the core ended with: {}", counts(core))?;
        writeln!(f, "connections of the gateway ended with: {}", counts(gateway))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = |latency: Option<Percentiles>| {
            latency.map_or_else(
                || "-".to_owned(),
                |all| format!("{:.2} / {:.2} / {:.1}", all.p50_ms, all.p99_ms, all.max_ms),
            )
        };
        let memory = |part: &ProcessUsage| {
            let [before, peak, after] =
                [part.resident_bytes_before, part.resident_bytes_peak, part.resident_bytes_after]
                    .map(|bytes| bytes >> 10);
            format!("{before}, {peak}, {after} KB")
        };
        let failed = if self.errors.is_empty() { "0".to_owned() } else { counts(&self.errors) };
        write!(
            f,
            "| {} | {} | {failed} | {} | {} | {} | {:.2}, {:.2}, {:.2}, {:.2} | {} | {} |",
            self.kind,
            self.turns,
            latency(self.accepted),
            latency(self.first),
            latency(self.done),
            self.core.processors,
            self.gateway.processors,
            self.load.processors,
            self.stolen,
            memory(&self.core),
            memory(&self.gateway),
        )
    }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_close_reasons() {
        let lines = [
            r#"{"message":"connection closed","close.reason":"idle","duration_ms":1}"#,
            r#"{"message":"connection closed","close.reason":"bye","duration_ms":1}"#,
            r#"{"message":"connection closed","close.reason":"idle"}"#,
            r#"{"message":"ready"}"#,
        ];
        let want = BTreeMap::from([("bye".to_owned(), 1), ("idle".to_owned(), 2)]);
        assert_eq!(endings(&lines.map(str::to_owned)), want);
    }
}
