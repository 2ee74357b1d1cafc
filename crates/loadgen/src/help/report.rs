//! The result: how soon help comes, and to how many.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::condition::Condition;
use super::visitor::Door;
use crate::stats::{Latency, Percentiles};

/// Within this, help is to be on the wire.
pub const GOAL: Duration = Duration::from_millis(50);

/// Help in every condition and at every door.
#[derive(Debug, Clone, Default, Serialize)]
pub struct HelpReport {
    /// By condition, and in each by door.
    pub rows: Vec<HelpRow>,
    /// Calls a second that others' talk made under load.
    pub others_per_second: Option<f64>,
}

/// Help in one condition at one door.
#[derive(Debug, Clone, Serialize)]
pub struct HelpRow {
    /// What was wrong.
    pub condition: Condition,
    /// Where people came in.
    pub door: Door,
    /// People who sent a message in risk.
    pub people: usize,
    /// Those of them who got help.
    pub helped: usize,
    /// Those of them who got it within the goal.
    pub in_time: usize,
    /// From the message to the help, of those who got it.
    pub latency: Option<Percentiles>,
}

impl HelpRow {
    pub(super) fn new(condition: Condition, door: Door, taken: &[Option<Duration>]) -> Self {
        let helped = || taken.iter().copied().flatten();
        let mut latency = Latency::default();
        helped().for_each(|taken| latency.record(taken));
        Self {
            condition,
            door,
            people: taken.len(),
            helped: helped().count(),
            in_time: helped().filter(|taken| *taken <= GOAL).count(),
            latency: latency.percentiles(),
        }
    }
}

impl HelpReport {
    /// People who got no help.
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
        let Self { condition, door, people, helped, in_time, latency } = self;
        write!(f, "{condition:<26} {door:<8} {:>11}", format!("{helped}/{people}"))?;
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
    fn those_without_help_and_those_with_late_help_are_told() {
        let taken = [Some(GOAL), Some(2 * GOAL), None];
        let rows = vec![HelpRow::new(Condition::QueueFull, Door::Plain, &taken)];
        let report = HelpReport { rows, others_per_second: None };
        assert_eq!(report.not_helped(), 1);
        let text = report.to_string();
        let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!((row[2], row[3], row[7]), ("plain", "2/3", "1/3"), "{text}");
        assert!(text.ends_with("not helped: 1\n"), "{text}");
        let nobody = HelpRow::new(Condition::Well, Door::Core, &[None]);
        assert!(nobody.latency.is_none() && nobody.to_string().contains("0/1"), "{nobody}");
    }
}
