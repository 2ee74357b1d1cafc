//! Report of a help run.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::condition::Condition;
use super::raw_user::EntryPoint;
use crate::stats::{Latency, Percentiles};

/// Goal for the time to help.
pub const GOAL: Duration = Duration::from_millis(50);

/// Results by condition and entry point.
#[derive(Debug, Clone, Default, Serialize)]
pub struct HelpReport {
    /// Rows by condition, then by entry point.
    pub rows: Vec<HelpRow>,
    /// Model calls per second of the background load.
    pub others_per_second: Option<f64>,
}

/// Results of one condition at one entry point.
#[derive(Debug, Clone, Serialize)]
pub struct HelpRow {
    /// Fault condition.
    pub condition: Condition,
    /// Path by which the users connected.
    #[serde(rename = "door")]
    pub entry_point: EntryPoint,
    /// Users that sent a message in risk.
    pub people: usize,
    /// Users that got help.
    pub helped: usize,
    /// Users that got help within the goal.
    pub in_time: usize,
    /// Time from the message to the help.
    pub latency: Option<Percentiles>,
}

impl HelpRow {
    pub(super) fn new(condition: Condition, entry_point: EntryPoint, taken: &[Option<Duration>]) -> Self {
        let helped = || taken.iter().copied().flatten();
        let mut latency = Latency::default();
        helped().for_each(|taken| latency.record(taken));
        Self {
            condition,
            entry_point,
            people: taken.len(),
            helped: helped().count(),
            in_time: helped().filter(|taken| *taken <= GOAL).count(),
            latency: latency.percentiles(),
        }
    }
}

impl HelpReport {
    /// Number of users without help.
    pub fn not_helped(&self) -> usize {
        self.rows.iter().map(|row| row.people - row.helped).sum()
    }
}

impl fmt::Display for HelpReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let goal = format!("within {} ms", GOAL.as_millis());
        writeln!(
            f,
            "{:<26} {:<8} {:>11} {:>9} {:>9} {:>9} {goal:>13}",
            "condition", "door", "helped", "p50 ms", "p99 ms", "most ms"
        )?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        if let Some(calls) = self.others_per_second {
            writeln!(f, "under load others had {calls:.0} answers a second")?;
        }
        match self.not_helped() {
            0 => writeln!(f, "everybody was helped"),
            people => writeln!(f, "not helped: {people}"),
        }
    }
}

impl fmt::Display for HelpRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { condition, entry_point, people, helped, in_time, latency } = self;
        write!(f, "{condition:<26} {entry_point:<8} {:>11}", format!("{helped}/{people}"))?;
        match latency {
            Some(it) => write!(f, " {:>9.2} {:>9.2} {:>9.2}", it.p50_ms, it.p99_ms, it.max_ms)?,
            None => write!(f, " {:>9} {:>9} {:>9}", "-", "-", "-")?,
        }
        write!(f, " {:>13}", format!("{in_time}/{people}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_missing_and_late_help() {
        let taken = [Some(GOAL), Some(2 * GOAL), None];
        let rows = vec![HelpRow::new(Condition::QueueFull, EntryPoint::Plain, &taken)];
        let report = HelpReport { rows, others_per_second: None };
        assert_eq!(report.not_helped(), 1);
        let text = report.to_string();
        let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!((row[2], row[3], row[7]), ("plain", "2/3", "1/3"), "{text}");
        assert!(text.ends_with("not helped: 1\n"), "{text}");
        let unhelped = HelpRow::new(Condition::Well, EntryPoint::Core, &[None]);
        assert!(unhelped.latency.is_none() && unhelped.to_string().contains("0/1"), "{unhelped}");
    }
}
