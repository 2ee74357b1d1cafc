//! Metrics in Prometheus format, and their table in `deploy/METRICS.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use prometheus_parse::{Scrape, Value};
use protocol::Face;
use serde_json::json;
use service_runtime::metrics::{BuildMetric, MetricDescription, MetricDescriptor, MetricKind, ProcessMetric};
use testkit::llm::Answer;

use crate::http;
use crate::program::Program;
use crate::single_node::{Plan, SingleNode};

/// Label value of the stand-in for the model.
pub(crate) const PROVIDER: &str = "provider=\"127.0.0.1/llama-3.1-8b-instant\"";

/// Series of one scrape as `name{label="value"}`, labels sorted; histograms with count and sum only.
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub(crate) async fn of(program: &Program) -> Self {
        Self::at(program.admin()).await
    }

    async fn at(address: SocketAddr) -> Self {
        let (status, text) = http::get(address, "/metrics").await.unwrap();
        assert_eq!(status, 200, "{text}");
        let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
        let series = scrape.samples.into_iter().filter_map(|sample| {
            let labels: BTreeMap<_, _> = sample.labels.iter().collect();
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let series = format!("{}{{{}}}", sample.metric, labels.join(","));
            match sample.value {
                Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => Some((series, value)),
                Value::Histogram(_) | Value::Summary(_) => None,
            }
        });
        Self(series.collect())
    }

    /// Value of a series such as `things_total{kind="good"}`.
    pub(crate) fn get(&self, series: &str) -> f64 {
        let series = if series.contains('{') { series.to_owned() } else { format!("{series}{{}}") };
        *self.0.get(&series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0.keys()))
    }

    pub(crate) fn assert(&self, want: &[(&str, f64)]) {
        for (series, value) in want {
            assert!((self.get(series) - value).abs() < f64::EPSILON, "{series} is {}, not {value}", self.get(series));
        }
    }
}

fn descriptions<M: MetricDescriptor>(metrics: &[M]) -> Vec<MetricDescription> {
    metrics.iter().map(|metric| metric.description()).collect()
}

/// Metrics of the core, by the module that owns them, and of its process.
fn core_metrics() -> Vec<MetricDescription> {
    [
        descriptions(core_server::metrics::Metric::ALL),
        descriptions(cluster::ClusterMetric::ALL),
        descriptions(llm::ModelMetric::ALL),
        descriptions(core_server::guard::GuardMetric::ALL),
        descriptions(store::DatabaseMetric::ALL),
        process_metrics(),
    ]
    .concat()
}

fn gateway_metrics() -> Vec<MetricDescription> {
    [descriptions(ws_gateway::Metric::ALL), process_metrics()].concat()
}

/// Metrics of both services.
fn process_metrics() -> Vec<MetricDescription> {
    [descriptions(ProcessMetric::ALL), descriptions(BuildMetric::ALL)].concat()
}

fn kind_name(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    }
}

/// The scrape contains exactly the metrics of the table, with their kinds, help texts and labels.
fn matches_table(text: &str, listed: &[MetricDescription]) {
    let lines = |word: &str| -> BTreeMap<String, String> {
        let rest = text.lines().filter_map(|line| line.strip_prefix(word)?.trim_start().split_once(' '));
        rest.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
    };
    let kinds = listed.iter().map(|it| (it.name.to_owned(), kind_name(it.kind).to_owned())).collect();
    assert_eq!(lines("# TYPE"), kinds);
    assert_eq!(lines("# HELP"), listed.iter().map(|it| (it.name.to_owned(), it.help.to_owned())).collect());
    let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    for metric in listed {
        let mut series = scrape.samples.iter().filter(|sample| sample.metric == metric.name).peekable();
        let histogram = metric.kind == MetricKind::Histogram && text.contains(&format!("{}_bucket{{", metric.name));
        assert!(histogram || series.peek().is_some(), "{} has no series", metric.name);
        let labels: BTreeSet<_> = metric.labels.iter().copied().collect();
        for sample in series {
            let got: BTreeSet<_> = sample.labels.keys().map(String::as_str).collect();
            assert_eq!(got, labels, "{}", metric.name);
        }
    }
}

#[test]
fn names_follow_the_conventions() {
    for MetricDescription { name, kind, help, .. } in core_metrics().into_iter().chain(gateway_metrics()) {
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert_eq!(kind == MetricKind::Counter, name.ends_with("_total"), "{name}");
        assert!(kind != MetricKind::Histogram || name.ends_with("_seconds"), "{name}");
        assert!(!name.ends_with("_ms") && !name.contains("milli"), "{name}");
        assert!(help.ends_with('.') && (!name.contains("seconds") || help.contains("in seconds")), "{name}: {help}");
    }
}

#[tokio::test]
async fn documented_metrics_match_exposed_metrics() {
    let mut node = Plan::with_gateway().start().await;
    let listed = [(node.core.admin(), core_metrics()), (node.gateway().admin(), gateway_metrics())];
    for (address, listed) in listed {
        let (status, text) = http::get(address, "/metrics").await.unwrap();
        assert_eq!(status, 200);
        matches_table(&text, &listed);
    }
}

/// Table of one service in `deploy/METRICS.md`.
fn table(metrics: &[MetricDescription]) -> String {
    let row = |it: &MetricDescription| {
        let labels: Vec<_> = it.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |\n", it.name, kind_name(it.kind), labels.join(" "), it.help)
    };
    metrics.iter().map(row).collect()
}

#[test]
fn metrics_table_matches_the_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/METRICS.md");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let rows: String = text.lines().filter(|line| line.starts_with("| `")).map(|line| format!("{line}\n")).collect();
    let both = process_metrics();
    let own = |metrics: Vec<MetricDescription>| -> Vec<MetricDescription> {
        metrics.into_iter().filter(|it| !both.contains(it)).collect()
    };
    let want = table(&own(core_metrics())) + &table(&own(gateway_metrics())) + &table(&both);
    assert_eq!(rows, want, "the rows of deploy/METRICS.md should be\n{want}");
}

async fn nothing_yet(node: &mut SingleNode) {
    Metrics::of(&node.core).await.assert(&[
        ("psicoia_core_connections_open", 0.0),
        ("psicoia_core_messages_accepted_total", 0.0),
        ("psicoia_core_sessions_live", 0.0),
        ("psicoia_core_model_concurrency_limit", 20.0),
    ]);
    Metrics::of(node.gateway()).await.assert(&[("psicoia_gateway_connections_open", 0.0)]);
}

#[tokio::test]
async fn counts_a_conversation() {
    let mut node = Plan::with_gateway().core("RATE_MAX_MESSAGES", 3).start().await;
    nothing_yet(&mut node).await;
    let mut person = node.at_gateway(Face::Frames).await;
    person.hello().await;
    person.ask("a", "hola").await;
    person.ask("b", "sigo").await;
    person.say("a", "hola").await;
    person.frame_of("done").await;
    node.standin.push(Answer::chunks(500).paced(0, 20));
    person.say("c", "largo").await;
    person.frame_of("delta").await;
    person.say("d", "de más").await;
    assert_eq!(person.frame_of("error").await["code"], "rate_limited");
    let whole = format!("psicoia_core_model_calls_total{{outcome=\"success\",{PROVIDER}}}");
    let in_use = format!("psicoia_core_model_connections_in_use{{{PROVIDER}}}");
    Metrics::of(&node.core).await.assert(&[
        ("psicoia_core_connections_open", 1.0),
        ("psicoia_core_sessions_live", 1.0),
        ("psicoia_core_model_permits_in_use", 1.0),
        ("psicoia_core_messages_accepted_total", 3.0),
        ("psicoia_core_messages_deduplicated_total", 1.0),
        ("psicoia_core_messages_rejected_total{code=\"rate_limited\"}", 1.0),
        (&whole, 2.0),
        (&in_use, 1.0),
        (&in_use.replace("in_use", "max"), 20.0),
        (&in_use.replace("connections_in_use", "connection_wait_seconds_count"), 3.0),
    ]);
    person.send(json!({"type": "stop", "id": "c"})).await;
    person.frame_of("done").await;
    person.send(json!({"type": "bye"})).await;
    person.ending().await;
    node.gateway().wait_for("connection closed").await;
    node.core.wait_for("connection closed").await;
    when_it_is_over(&mut node).await;
}

async fn when_it_is_over(node: &mut SingleNode) {
    let metrics = Metrics::of(&node.core).await;
    metrics.assert(&[
        ("psicoia_core_connections_opened_total", 1.0),
        ("psicoia_core_connections_closed_total{reason=\"bye\"}", 1.0),
        ("psicoia_core_turns_total{finish=\"stop\",source=\"llm\"}", 2.0),
        ("psicoia_core_turns_total{finish=\"stopped\",source=\"llm\"}", 1.0),
        ("psicoia_core_turn_duration_seconds_count", 3.0),
        ("psicoia_core_time_to_first_token_seconds_count", 3.0),
        ("psicoia_core_turn_queue_wait_seconds_count", 3.0),
        // Three messages and three answers.
        ("psicoia_core_commit_duration_seconds_count", 6.0),
        ("psicoia_core_model_permits_in_use", 0.0),
        (&format!("psicoia_core_model_calls_total{{outcome=\"cancelled\",{PROVIDER}}}"), 1.0),
        (&format!("psicoia_core_model_connections_in_use{{{PROVIDER}}}"), 0.0),
    ]);
    assert!(0.0 < metrics.get("psicoia_core_commit_duration_seconds_sum"));
    let core = format!("{{core=\"{}\"}}", node.core.address());
    let gateway = Metrics::of(node.gateway()).await;
    gateway.assert(&[
        ("psicoia_gateway_connections_opened_total", 1.0),
        ("psicoia_gateway_connections_open", 0.0),
        ("psicoia_gateway_connections_closed_total{code=\"1000\",reason=\"bye\"}", 1.0),
        ("psicoia_gateway_core_connect_seconds_count", 1.0),
        (&format!("psicoia_gateway_core_connections{core}"), 0.0),
        (&format!("psicoia_gateway_core_ejected{core}"), 0.0),
    ]);
}

/// Rejected origins and incomplete upgrades are counted.
#[tokio::test]
async fn counts_rejected_upgrades() {
    let mut node = Plan::with_gateway().start().await;
    let address = node.gateway().address();
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    let stranger = format!("{upgrade}Origin: https://example.org\r\n");
    assert_eq!(http::status(address, "/ws", &stranger).await.unwrap(), 403);
    assert_eq!(http::status(address, "/ws", upgrade).await.unwrap(), 426);
    Metrics::of(node.gateway()).await.assert(&[
        ("psicoia_gateway_upgrades_rejected_total{reason=\"origin\"}", 1.0),
        ("psicoia_gateway_upgrades_rejected_total{reason=\"malformed\"}", 1.0),
        ("psicoia_gateway_connections_opened_total", 0.0),
    ]);
}
