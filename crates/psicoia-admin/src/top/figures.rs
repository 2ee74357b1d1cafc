//! Figures of the services, calculated from their scrapes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::history::History;
use crate::scrape::{Buckets, Sample};

/// Codes of messages that a fault of the service rejects, not a limit of a person.
const FAULTS: [&str; 3] = ["overloaded", "unavailable", "internal"];

/// Figures of all services.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Overview {
    /// Span of rates and percentiles, in seconds.
    pub(super) seconds: f64,
    pub(super) total: Figures,
    pub(super) services: Vec<Service>,
}

/// Figures of one service.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Service {
    pub(super) address: String,
    pub(super) kind: Kind,
    /// `ready`, `degraded`, `unavailable`, or `unreachable`.
    pub(super) state: String,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

/// Sort of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Core,
    Gateway,
    Unknown,
}

/// Figures of a service, or of all together. Counters of the core are 0 for a gateway.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Figures {
    /// Open connections: of a gateway those of browsers, of a core those of gateways and native clients.
    pub(super) people: f64,
    pub(super) sessions: f64,
    pub(super) turns_per_second: f64,
    pub(super) first_token: Percentiles,
    pub(super) turn: Percentiles,
    pub(super) queue: f64,
    pub(super) permits_in_use: f64,
    pub(super) permits: f64,
    /// Messages without an answer: faults and answers that broke off.
    pub(super) errors_per_second: f64,
    /// Answers of the companion, as a share of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) companion_share: Option<f64>,
    /// Help shown since the start, by level.
    pub(super) help_shown: BTreeMap<String, f64>,
    /// Circuit breakers by provider; of several cores the worst.
    pub(super) breakers: BTreeMap<String, Breaker>,
    /// Connections of a gateway by core.
    pub(super) cores: BTreeMap<String, Core>,
    /// Processor time, in cores.
    pub(super) cpu: f64,
    pub(super) memory_bytes: f64,
    /// Open files, as a share of the limit; of several services the highest.
    pub(super) files_share: f64,
    #[serde(skip)]
    histograms: [Buckets; 2],
    #[serde(skip)]
    turns: [f64; 2],
}

/// Seconds; `None` without observations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: Option<f64>,
    pub(super) p95: Option<f64>,
    pub(super) p99: Option<f64>,
}

/// State of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Breaker {
    Closed,
    HalfOpen,
    Open,
}

/// A core as the gateways see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Core {
    pub(super) connections: f64,
    pub(super) is_ejected: bool,
}

impl Overview {
    /// Calculates the figures of `histories`.
    pub(super) fn of(histories: &[History]) -> Self {
        let services: Vec<_> = histories.iter().map(Service::of).collect();
        let spans = histories.iter().filter_map(History::span).map(|(oldest, newest)| seconds(oldest, newest));
        Self { seconds: spans.fold(0.0, f64::max), total: Figures::total(&services), services }
    }
}

impl Service {
    fn of(history: &History) -> Self {
        let address = history.endpoint().to_string();
        let Some((oldest, newest)) = history.span() else {
            let reason = history.failure().map(str::to_owned);
            let (kind, state) = (Kind::Unknown, "unreachable".to_owned());
            return Self { address, kind, state, reason, version: None, figures: Figures::default() };
        };
        let failed = newest.readiness.checks.iter().filter(|check| check.state != "ok");
        let reasons: Vec<_> = failed
            .map(|check| format!("{}: {}", check.name, check.reason.as_deref().unwrap_or(&check.state)))
            .collect();
        Self {
            address,
            kind: Kind::of(newest),
            state: newest.readiness.status.clone(),
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
            version: newest.by_label("psicoia_build_info", "version").into_keys().next(),
            figures: Figures::between(oldest, newest),
        }
    }
}

impl Kind {
    pub(super) fn of(sample: &Sample) -> Self {
        if sample.has("psicoia_core_connections_open") {
            Self::Core
        } else if sample.has("psicoia_gateway_connections_open") {
            Self::Gateway
        } else {
            Self::Unknown
        }
    }
}

impl Figures {
    fn between(oldest: &Sample, newest: &Sample) -> Self {
        let seconds = seconds(oldest, newest);
        let increase = |count: &dyn Fn(&Sample) -> f64| increase(count(oldest), count(newest));
        let rate = |count: &dyn Fn(&Sample) -> f64| if seconds > 0.0 { increase(count) / seconds } else { 0.0 };
        let turns = [
            increase(&|it| it.sum("psicoia_core_turns_total")),
            increase(&|it| it.sum_where("psicoia_core_turns_total", "source", &["companion"])),
        ];
        let histograms = ["psicoia_core_time_to_first_token_seconds", "psicoia_core_turn_duration_seconds"]
            .map(|name| newest.histogram(name).since(&oldest.histogram(name)));
        let files = newest.sum("process_max_fds");
        let figures = Self {
            people: newest.sum("psicoia_core_connections_open") + newest.sum("psicoia_gateway_connections_open"),
            sessions: newest.sum("psicoia_core_sessions_live"),
            turns_per_second: rate(&|it| it.sum("psicoia_core_turns_total")),
            queue: newest.sum("psicoia_core_model_queue_length"),
            permits_in_use: newest.sum("psicoia_core_model_permits_in_use"),
            permits: newest.sum("psicoia_core_model_concurrency_limit"),
            errors_per_second: rate(&errors),
            help_shown: newest.by_label("psicoia_core_help_shown_total", "level"),
            breakers: breakers(newest),
            cores: cores(newest),
            cpu: rate(&|it| it.sum("process_cpu_seconds_total")),
            memory_bytes: newest.sum("process_resident_memory_bytes"),
            files_share: if files > 0.0 { newest.sum("process_open_fds") / files } else { 0.0 },
            histograms,
            turns,
            ..Self::default()
        };
        figures.with_derived()
    }

    /// Adds the services up. People are those of the gateways if there is one: each of them is a connection of a core too.
    fn total(services: &[Service]) -> Self {
        let mut total = Self::default();
        let has_gateway = services.iter().any(|service| service.kind == Kind::Gateway);
        for Service { kind, figures, .. } in services {
            total.add(figures);
            if has_gateway && *kind == Kind::Core {
                total.people -= figures.people;
            }
        }
        total.with_derived()
    }

    fn add(&mut self, other: &Self) {
        self.people += other.people;
        self.sessions += other.sessions;
        self.turns_per_second += other.turns_per_second;
        self.queue += other.queue;
        self.permits_in_use += other.permits_in_use;
        // With Redis the limit is one for all cores.
        self.permits = self.permits.max(other.permits);
        self.errors_per_second += other.errors_per_second;
        self.cpu += other.cpu;
        self.memory_bytes += other.memory_bytes;
        self.files_share = self.files_share.max(other.files_share);
        for (level, count) in &other.help_shown {
            *self.help_shown.entry(level.clone()).or_default() += count;
        }
        for (provider, state) in &other.breakers {
            let known = self.breakers.entry(provider.clone()).or_insert(*state);
            *known = (*known).max(*state);
        }
        for (address, core) in &other.cores {
            let known = self.cores.entry(address.clone()).or_default();
            known.connections += core.connections;
            known.is_ejected |= core.is_ejected;
        }
        self.histograms.iter_mut().zip(&other.histograms).for_each(|(sum, buckets)| sum.add(buckets));
        self.turns.iter_mut().zip(other.turns).for_each(|(sum, count)| *sum += count);
    }

    fn with_derived(self) -> Self {
        let [first_token, turn] = [0, 1].map(|at| Percentiles::of(&self.histograms[at]));
        let [all, companion] = self.turns;
        let companion_share = (all > 0.0).then(|| companion / all);
        Self { first_token, turn, companion_share, ..self }
    }
}

impl Percentiles {
    fn of(buckets: &Buckets) -> Self {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|quantile| buckets.quantile(quantile));
        Self { p50, p95, p99 }
    }
}

fn errors(sample: &Sample) -> f64 {
    sample.sum_where("psicoia_core_messages_rejected_total", "code", &FAULTS)
        + sample.sum_where("psicoia_core_turns_total", "finish", &["error"])
}

fn breakers(sample: &Sample) -> BTreeMap<String, Breaker> {
    let states = sample.by_label("psicoia_core_breaker_state", "provider").into_iter();
    states
        .map(|(provider, state)| {
            let state = if state < 0.5 {
                Breaker::Closed
            } else if state < 1.5 {
                Breaker::HalfOpen
            } else {
                Breaker::Open
            };
            (provider, state)
        })
        .collect()
}

fn cores(sample: &Sample) -> BTreeMap<String, Core> {
    let ejected = sample.by_label("psicoia_gateway_core_ejected", "core");
    let connections = sample.by_label("psicoia_gateway_core_connections", "core").into_iter();
    connections
        .map(|(address, connections)| {
            let is_ejected = ejected.get(&address).is_some_and(|state| 0.5 < *state);
            (address, Core { connections, is_ejected })
        })
        .collect()
}

fn seconds(oldest: &Sample, newest: &Sample) -> f64 {
    newest.at.duration_since(oldest.at).as_secs_f64()
}

/// Returns the increase of a counter. One that fell belongs to a restarted process.
fn increase(before: f64, now: f64) -> f64 {
    if now < before { now } else { now - before }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::scrape::tests::sample;

    fn core_metrics(turns: u32, companion: u32, fast: u32) -> String {
        format!(
            r#"# TYPE psicoia_core_connections_open gauge
psicoia_core_connections_open 5
# TYPE psicoia_core_turns_total counter
psicoia_core_turns_total{{source="llm",finish="stop"}} {turns}
psicoia_core_turns_total{{source="companion",finish="error"}} {companion}
# TYPE psicoia_core_help_shown_total counter
psicoia_core_help_shown_total{{level="high"}} 3
# TYPE psicoia_core_breaker_state gauge
psicoia_core_breaker_state{{provider="a"}} 2
# TYPE psicoia_core_model_concurrency_limit gauge
psicoia_core_model_concurrency_limit 20
# TYPE psicoia_core_time_to_first_token_seconds histogram
psicoia_core_time_to_first_token_seconds_bucket{{le="1"}} {fast}
psicoia_core_time_to_first_token_seconds_bucket{{le="+Inf"}} {fast}
psicoia_core_time_to_first_token_seconds_sum 1
psicoia_core_time_to_first_token_seconds_count {fast}
"#
        )
    }

    const GATEWAY: &str = r#"# TYPE psicoia_gateway_connections_open gauge
psicoia_gateway_connections_open 4
# TYPE psicoia_gateway_core_connections gauge
psicoia_gateway_core_connections{core="c:1"} 4
# TYPE psicoia_gateway_core_ejected gauge
psicoia_gateway_core_ejected{core="c:1"} 1
# TYPE psicoia_build_info gauge
psicoia_build_info{version="1.2.3"} 1
"#;

    /// Overview of two cores, a gateway, and a service that does not answer; ten seconds long.
    pub(in crate::top) fn overview() -> Overview {
        let begin = Instant::now();
        let end = begin + Duration::from_secs(10);
        let histories = ["core-1:9101", "core-2:9101", "gateway:9102", "gone:9101"].map(|address| {
            let mut history = History::new(address.parse().unwrap());
            match address {
                "gateway:9102" => history.record(Ok(sample(GATEWAY, end))),
                "gone:9101" => history.record(Err(crate::scrape::ScrapeError::Status(500))),
                _ => {
                    history.record(Ok(sample(&core_metrics(10, 0, 7), begin)));
                    history.record(Ok(sample(&core_metrics(28, 2, 27), end)));
                }
            }
            history
        });
        Overview::of(&histories)
    }

    #[test]
    fn calculates_rates_percentiles_and_totals() {
        let overview = overview();
        let [core, _, gateway, gone] = &overview.services[..] else { panic!("{overview:?}") };
        assert_eq!((core.kind, gateway.kind, gone.kind), (Kind::Core, Kind::Gateway, Kind::Unknown));
        assert_eq!((core.figures.turns_per_second, core.figures.errors_per_second), (2.0, 0.2));
        assert_eq!((core.figures.companion_share, core.figures.first_token.p50), (Some(0.1), Some(0.5)));
        assert_eq!(core.figures.turn, Percentiles::default());
        assert_eq!(gateway.version.as_deref(), Some("1.2.3"));
        assert_eq!(gateway.figures.cores["c:1"], Core { connections: 4.0, is_ejected: true });
        assert_eq!(
            (gone.state.as_str(), gone.reason.as_deref()),
            ("unreachable", Some("/metrics answers with status 500"))
        );
        let total = &overview.total;
        assert_eq!((total.people, total.turns_per_second, total.permits), (4.0, 4.0, 20.0));
        assert_eq!((total.help_shown["high"], total.breakers["a"]), (6.0, Breaker::Open));
        assert_eq!((total.first_token.p95, overview.seconds), (Some(0.95), 10.0));
    }

    #[test]
    fn counters_of_a_restarted_process_are_its_increase() {
        assert_eq!((increase(5.0, 7.0), increase(5.0, 2.0)), (2.0, 2.0));
    }

    #[test]
    fn json_names_every_figure() {
        let json = serde_json::to_value(overview()).unwrap();
        assert_eq!(json["total"]["breakers"]["a"], "open");
        assert_eq!(json["services"][0]["kind"], "core");
        assert_eq!(json["services"][0]["first_token"]["p50"], 0.5);
        assert_eq!(json["services"][3]["state"], "unreachable");
    }
}
