//! Figures as text: the columns of the services, and the lines above and below them.

use std::cmp::Ordering;
use std::fmt;

use super::figures::{Breaker, Figures, Overview, Percentiles, Service};

/// Column of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) width: u16,
    text: fn(&Service) -> String,
    /// Value to sort by; `None` sorts by text.
    value: Option<fn(&Service) -> f64>,
}

/// Columns, from left to right.
pub(super) const COLUMNS: [Column; 14] = [
    by_text("SERVICE", 22, |it| it.address.clone()),
    by_text("KIND", 8, |it| format!("{:?}", it.kind).to_lowercase()),
    by_text("STATE", 12, |it| it.state.clone()),
    by_text("VERSION", 8, |it| it.version.clone().unwrap_or_default()),
    by_value("PEOPLE", 7, |it| count(it.figures.people), |it| it.figures.people),
    by_value("SESSIONS", 9, |it| count(it.figures.sessions), |it| it.figures.sessions),
    by_value("TURN/s", 7, |it| rate(it.figures.turns_per_second), |it| it.figures.turns_per_second),
    by_value("FIRST95", 8, |it| seconds(it.figures.first_token.p95), |it| or_zero(it.figures.first_token.p95)),
    by_value("TURN95", 8, |it| seconds(it.figures.turn.p95), |it| or_zero(it.figures.turn.p95)),
    by_value("QUEUE", 6, |it| count(it.figures.queue), |it| it.figures.queue),
    by_value("ERR/s", 6, |it| rate(it.figures.errors_per_second), |it| it.figures.errors_per_second),
    by_value("CPU", 5, |it| rate(it.figures.cpu), |it| it.figures.cpu),
    by_value("MEMORY", 8, |it| megabytes(it.figures.memory_bytes), |it| it.figures.memory_bytes),
    by_value("FILES", 6, |it| percent(it.figures.files_share), |it| it.figures.files_share),
];

const fn by_text(title: &'static str, width: u16, text: fn(&Service) -> String) -> Column {
    Column { title, width, text, value: None }
}

const fn by_value(title: &'static str, width: u16, text: fn(&Service) -> String, value: fn(&Service) -> f64) -> Column {
    Column { title, width, text, value: Some(value) }
}

impl Column {
    /// Returns the cell, numbers to the right.
    pub(super) fn cell(&self, service: &Service) -> String {
        self.align((self.text)(service))
    }

    pub(super) fn heading(&self) -> String {
        self.align(self.title.to_owned())
    }

    /// Compares for a sort: numbers from the highest down, texts from a to z.
    pub(super) fn compare(&self, one: &Service, other: &Service) -> Ordering {
        match self.value {
            Some(value) => value(other).total_cmp(&value(one)),
            None => (self.text)(one).cmp(&(self.text)(other)),
        }
    }

    fn align(&self, text: String) -> String {
        let width = usize::from(self.width);
        if self.value.is_some() { format!("{text:>width$}") } else { format!("{text:<width$}") }
    }
}

/// Lines above the table: figures of all services together.
pub(super) fn summary(overview: &Overview) -> Vec<String> {
    let total = &overview.total;
    vec![
        format!(
            "people {}   sessions {}   turns/s {}   errors/s {}   companion {}   over {} s",
            count(total.people),
            count(total.sessions),
            rate(total.turns_per_second),
            rate(total.errors_per_second),
            total.companion_share.map_or_else(|| "–".to_owned(), percent),
            rate(overview.seconds),
        ),
        format!(
            "first token {}   whole turn {}   queue {}   permits {} of {}",
            percentiles(&total.first_token),
            percentiles(&total.turn),
            count(total.queue),
            count(total.permits_in_use),
            count(total.permits),
        ),
    ]
}

/// Lines below the table: help shown, breakers, cores as the gateways see them, and reasons.
pub(super) fn details(overview: &Overview) -> Vec<String> {
    let mut lines = vec![help(&overview.total)];
    lines.extend(overview.total.breakers.iter().map(|(provider, state)| {
        let state = match state {
            Breaker::Closed => "closed",
            Breaker::HalfOpen => "half-open",
            Breaker::Open => "OPEN",
        };
        format!("breaker {provider}: {state}")
    }));
    lines.extend(overview.total.cores.iter().map(|(address, core)| {
        let ejected = if core.is_ejected { ", EJECTED" } else { "" };
        format!("core {address}: {} connections of gateways{ejected}", count(core.connections))
    }));
    lines.extend(
        overview.services.iter().filter_map(|it| Some(format!("{} {}: {}", it.address, it.state, it.reason.as_ref()?))),
    );
    lines
}

fn help(total: &Figures) -> String {
    let levels: Vec<_> = total.help_shown.iter().map(|(level, shown)| format!("{level} {}", count(*shown))).collect();
    format!("help shown since the start: {}", if levels.is_empty() { "–".to_owned() } else { levels.join(", ") })
}

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in summary(self) {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "\n{}", COLUMNS.map(|column| column.heading()).join(" ").trim_end())?;
        for service in &self.services {
            writeln!(f, "{}", COLUMNS.map(|column| column.cell(service)).join(" ").trim_end())?;
        }
        writeln!(f)?;
        for line in details(self) {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

fn percentiles(of: &Percentiles) -> String {
    format!("p50 {} p95 {} p99 {}", seconds(of.p50), seconds(of.p95), seconds(of.p99))
}

fn count(value: f64) -> String {
    format!("{value:.0}")
}

fn rate(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn seconds(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value < 1.0 => format!("{:.0} ms", value * 1_000.0),
        Some(value) => format!("{value:.1} s"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn megabytes(bytes: f64) -> String {
    format!("{:.0} MB", bytes / 1e6)
}

fn or_zero(value: Option<f64>) -> f64 {
    value.unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::overview;
    use super::*;

    #[test]
    fn prints_every_service_and_reason() {
        let text = overview().to_string();
        for part in [
            "people 4   sessions 0   turns/s 4.0   errors/s 0.4   companion 10 %   over 10 s",
            "first token p50 500 ms p95 950 ms p99 990 ms   whole turn p50 – p95 – p99 –   queue 0   permits 0 of 20",
            "core-1:9101            core     ready",
            "help shown since the start: high 6",
            "breaker a: OPEN",
            "core c:1: 4 connections of gateways, EJECTED",
            "gone:9101 unreachable: /metrics answers with status 500",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }

    #[test]
    fn formats_units() {
        assert_eq!([None, Some(0.25), Some(3.21)].map(seconds), ["–", "250 ms", "3.2 s"]);
        assert_eq!([0.04, 12.3].map(rate), ["0.0", "12"]);
        assert_eq!((percent(0.051), megabytes(2.5e7)), ("5 %".to_owned(), "25 MB".to_owned()));
    }
}
