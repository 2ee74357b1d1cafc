//! The result of a run under pressure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use testkit::footprint::Footprint;

use super::siege::Fates;
use super::{Look, Options};
use crate::disk::Floor;
use crate::stats::Percentiles;

/// What one process did in a phase.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Part {
    /// Processor time, as a part of one processor's.
    pub processors: f64,
    pub resident_bytes_before: u64,
    pub resident_bytes_peak: u64,
    pub resident_bytes_after: u64,
}

impl Part {
    pub(super) fn new(before: &Footprint, after: &Footprint, peak: u64, took: Duration) -> Self {
        Self {
            processors: after.processor_time_since(before).as_secs_f64() / took.as_secs_f64(),
            resident_bytes_before: before.resident_bytes,
            resident_bytes_peak: peak,
            resident_bytes_after: after.resident_bytes,
        }
    }
}

/// What goes on in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nobody is in the way.
    Quiet,
    /// Others' services on the same machine are under pressure: the machine's part in what it costs.
    Elsewhere,
    /// The services that people use are.
    Pressure,
}

impl Kind {
    /// The order in which phases take turns.
    pub(super) const CYCLE: [Self; 3] = [Self::Quiet, Self::Elsewhere, Self::Pressure];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quiet => "quiet",
            Self::Elsewhere => "elsewhere",
            Self::Pressure => "pressure",
        })
    }
}

/// One phase.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Row {
    pub kind: Kind,
    pub turns: u64,
    /// Turns that failed, by error code; also `connection_lost` and `no_answer`.
    pub errors: BTreeMap<String, u64>,
    pub accepted: Option<Percentiles>,
    pub first: Option<Percentiles>,
    pub done: Option<Percentiles>,
    pub core: Part,
    pub gateway: Part,
    pub load: Part,
    /// Processor time that the machine's host gave to others, as a part of one processor's: where it is not
    /// near 0 the latencies are the host's.
    pub stolen: f64,
}

/// A percentile of a phase, in milliseconds; `None` where nothing happened.
type Measure = fn(&Row) -> Option<f64>;

/// What is compared.
const MEASURES: [(&str, Measure); 6] = [
    ("accepted p50", |row| row.accepted.map(|all| all.p50_ms)),
    ("accepted p99", |row| row.accepted.map(|all| all.p99_ms)),
    ("first delta p50", |row| row.first.map(|all| all.p50_ms)),
    ("first delta p99", |row| row.first.map(|all| all.p99_ms)),
    ("done p50", |row| row.done.map(|all| all.p50_ms)),
    ("done p99", |row| row.done.map(|all| all.p99_ms)),
];

/// How the same percentile of the people's latency stands in the kinds of phases.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Ratio {
    pub what: &'static str,
    /// Medians over the phases, in milliseconds.
    pub quiet_ms: f64,
    pub elsewhere_ms: f64,
    pub pressure_ms: f64,
    /// Under pressure beside quiet: what people notice.
    pub of_quiet: f64,
    /// Under pressure beside pressure on others: what they pay because it is their services.
    pub of_elsewhere: f64,
}

/// The whole run.
#[derive(Debug, Clone, Serialize)]
pub struct PressureReport {
    /// People who talked.
    pub people: usize,
    /// How long a phase was.
    pub phase_seconds: f64,
    /// How far those in the way came behind others for a processor.
    pub siege_nice: u8,
    /// Where randomness began.
    pub seed: u64,
    /// The disk on which the database was.
    pub disk: Floor,
    /// The phases in their order.
    pub rows: Vec<Row>,
    /// Pressure beside the other kinds.
    pub ratios: Vec<Ratio>,
    /// What became of those who were in the way of people, as they saw it.
    pub fates: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// Why connections ended, as core and gateway logged it.
    pub endings: [BTreeMap<String, u64>; 2],
}

impl PressureReport {
    pub(super) fn new(options: &Options, disk: Floor, looks: &[Look], fates: Fates, logs: [Vec<String>; 2]) -> Self {
        let rows: Vec<Row> = looks.iter().map(Row::new).collect();
        Self {
            people: options.people,
            phase_seconds: options.phase.as_secs_f64(),
            siege_nice: options.siege_nice,
            seed: options.seed,
            disk,
            ratios: MEASURES.iter().map(|(what, measure)| Ratio::new(what, &rows, *measure)).collect(),
            rows,
            fates: fates.into_inner(),
            endings: logs.map(|lines| endings(&lines)),
        }
    }
}

impl Row {
    fn new(look: &Look) -> Self {
        let Look { kind, tally, parts: [core, gateway, load], stolen } = look;
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
    fn new(what: &'static str, rows: &[Row], measure: Measure) -> Self {
        let [quiet_ms, elsewhere_ms, pressure_ms] = Kind::CYCLE.map(|kind| median(rows, kind, measure));
        let of = |other: f64| if other == 0.0 { 0.0 } else { pressure_ms / other };
        Self { what, quiet_ms, elsewhere_ms, pressure_ms, of_quiet: of(quiet_ms), of_elsewhere: of(elsewhere_ms) }
    }
}

/// The median over the phases of one kind; of an even number, the mean of the middle two.
fn median(rows: &[Row], kind: Kind, measure: Measure) -> f64 {
    let mut values: Vec<f64> = rows.iter().filter(|row| row.kind == kind).filter_map(measure).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        Some(upper) if values.len().is_multiple_of(2) => f64::midpoint(values[middle - 1], *upper),
        Some(middle) => *middle,
        None => 0.0,
    }
}

/// The reasons in the lines that say why a connection ended.
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
        let Self { people, phase_seconds, siege_nice, seed, disk, .. } = self;
        writeln!(
            f,
            "{people} people, phases of {phase_seconds:.0} s, those in the way at nice {siege_nice}, seed {seed}; \
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
        for Ratio { what, quiet_ms, elsewhere_ms, pressure_ms, of_quiet, of_elsewhere } in &self.ratios {
            writeln!(
                f,
                "{what}: quiet {quiet_ms:.2} ms, pressure elsewhere {elsewhere_ms:.2} ms, under pressure \
                 {pressure_ms:.2} ms: × {of_quiet:.2} of quiet, × {of_elsewhere:.2} of elsewhere"
            )?;
        }
        for (who, fates) in &self.fates {
            writeln!(f, "{who}: {}", counts(fates))?;
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
        let memory = |part: &Part| {
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
    counts.iter().map(|(what, count)| format!("{what} {count}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted() {
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
