//! Metrics of the core, registered once and shared. Labels are resolved here, so that counting is an atomic addition.
//!
//! No label may identify a person, an address or a session: cardinality stays bounded, and scrapes hold nothing
//! personal.

mod names;

use cluster::ClusterMetrics;
use limits::LimiterLoad;
use llm::ModelMetrics;
use protocol::server_frame::{Finish, Source};
use protocol::{CloseReason, ErrorCode};
use safety::Level;
use service_runtime::metrics::{
    Histogram, IO_SECONDS_BUCKETS, IntCounter, IntCounterVec, IntGauge, MODEL_SECONDS_BUCKETS, Registry, to_gauge,
};
use store::{DatabaseGauges, DatabaseMeter};

pub use names::Metric;

const FINISHES: [Finish; 4] = [Finish::Stop, Finish::Length, Finish::Stopped, Finish::Error];
/// Levels with help.
const LEVELS: [Level; 3] = [Level::Concern, Level::High, Level::Imminent];
const SOURCES: [Source; 3] = [Source::Llm, Source::Companion, Source::Screened];

/// Metrics of a core.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    connections_open: IntGauge,
    connections_opened: IntCounter,
    /// In the order of [`CloseReason::ALL`].
    connections_closed: [IntCounter; CloseReason::ALL.len()],
    /// Pauses of the accept loop after a resource error.
    pub accept_backoffs: IntCounter,
    /// Connections closed because their outbox overflowed.
    pub slow_consumer_disconnects: IntCounter,
    /// Sessions in memory.
    pub sessions_live: IntGauge,
    /// Messages stored.
    pub messages_accepted: IntCounter,
    /// Retries of messages stored before.
    pub messages_deduplicated: IntCounter,
    /// In the order of [`ErrorCode::ALL`].
    messages_rejected: [IntCounter; ErrorCode::ALL.len()],
    /// In the order of `LEVELS`.
    help_shown: [IntCounter; LEVELS.len()],
    /// Messages in risk that bypassed a limit.
    pub answers_beyond_limits: IntCounter,
    /// By source, then by finish.
    turns: [[IntCounter; FINISHES.len()]; SOURCES.len()],
    /// From `accepted` to the permit for the model, in seconds.
    pub turn_queue_wait: Histogram,
    /// From `accepted` to the first delta, in seconds.
    pub time_to_first_token: Histogram,
    /// From `accepted` to the end of the answer, in seconds.
    pub turn_duration: Histogram,
    /// From the write request to the commit, in seconds.
    pub commit_duration: Histogram,
    /// Writes that failed or whose outcome is unknown.
    pub commit_failures: IntCounter,
    concurrency_limit: IntGauge,
    permits_in_use: IntGauge,
    queue_length: IntGauge,
    /// Calls to the model.
    pub model: ModelMetrics,
    /// Cluster of cores.
    pub cluster: ClusterMetrics,
    /// Connection pool of the database server.
    pub database: DatabaseGauges,
}

/// Open connection; counts as closed on drop, so that no way out of a connection is missed.
#[derive(Debug)]
pub struct OpenConnection<'a> {
    metrics: &'a Metrics,
    reason: CloseReason,
}

impl Metrics {
    /// Registers every metric. `database` is the meter that the store counts with.
    pub fn new(database: &DatabaseMeter) -> Self {
        let registry = Registry::default();
        let r = &registry;
        let closed = r.counters(Metric::ConnectionsClosed);
        let rejected = r.counters(Metric::MessagesRejected);
        let help = r.counters(Metric::HelpShown);
        let turns = r.counters(Metric::Turns);
        let turn = |source: Source, finish: Finish| labelled(&turns, &[&source.to_string(), &finish.to_string()]);
        Self {
            connections_open: r.gauge(Metric::ConnectionsOpen),
            connections_opened: r.counter(Metric::ConnectionsOpened),
            connections_closed: CloseReason::ALL.map(|reason| labelled(&closed, &[reason.name()])),
            accept_backoffs: r.counter(Metric::AcceptBackoffs),
            slow_consumer_disconnects: r.counter(Metric::SlowConsumerDisconnects),
            sessions_live: r.gauge(Metric::SessionsLive),
            messages_accepted: r.counter(Metric::MessagesAccepted),
            messages_deduplicated: r.counter(Metric::MessagesDeduplicated),
            messages_rejected: ErrorCode::ALL.map(|code| labelled(&rejected, &[&code.to_string()])),
            help_shown: LEVELS.map(|level| labelled(&help, &[level.name()])),
            answers_beyond_limits: r.counter(Metric::AnswersBeyondLimits),
            turns: SOURCES.map(|source| FINISHES.map(|finish| turn(source, finish))),
            turn_queue_wait: r.histogram(Metric::TurnQueueWait, MODEL_SECONDS_BUCKETS),
            time_to_first_token: r.histogram(Metric::TimeToFirstToken, MODEL_SECONDS_BUCKETS),
            turn_duration: r.histogram(Metric::TurnDuration, MODEL_SECONDS_BUCKETS),
            commit_duration: r.histogram(Metric::CommitDuration, IO_SECONDS_BUCKETS),
            commit_failures: r.counter(Metric::CommitFailures),
            concurrency_limit: r.gauge(Metric::ModelConcurrencyLimit),
            permits_in_use: r.gauge(Metric::ModelPermitsInUse),
            queue_length: r.gauge(Metric::ModelQueueLength),
            model: ModelMetrics::new(r),
            cluster: ClusterMetrics::new(r),
            database: DatabaseGauges::new(r, database),
            registry,
        }
    }

    /// Returns the registry, for further families and for export.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts a new connection. Without [`OpenConnection::closing`] it ends as [`CloseReason::Internal`].
    pub fn open_connection(&self) -> OpenConnection<'_> {
        self.connections_opened.inc();
        self.connections_open.inc();
        OpenConnection { metrics: self, reason: CloseReason::Internal }
    }

    /// Counts a message rejected with `code`.
    pub fn message_rejected(&self, code: ErrorCode) {
        self.messages_rejected[code as usize].inc();
    }

    /// Counts help that was shown.
    pub fn help_shown(&self, level: Level) {
        let at = LEVELS.iter().position(|known| *known == level).unwrap_or_default();
        self.help_shown[at].inc();
    }

    /// Sets the limit on concurrent answers, the permits in use and the queue length.
    pub fn set_concurrency(&self, LimiterLoad { count, in_use, waiting }: LimiterLoad) {
        self.concurrency_limit.set(to_gauge(count));
        self.permits_in_use.set(to_gauge(in_use));
        self.queue_length.set(to_gauge(waiting));
    }

    /// Counts an answer, complete or not.
    pub fn turn_ended(&self, source: Source, finish: Finish) {
        self.turns[source as usize][finish as usize].inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(&DatabaseMeter::default())
    }
}

impl OpenConnection<'_> {
    /// Records the close reason.
    pub fn closing(&mut self, reason: CloseReason) {
        self.reason = reason;
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.metrics.connections_closed[self.reason as usize].inc();
        self.metrics.connections_open.dec();
    }
}

fn labelled(counters: &IntCounterVec, labels: &[&str]) -> IntCounter {
    counters.with_label_values(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_label_apart() {
        let metrics = Metrics::default();
        for reason in CloseReason::ALL {
            metrics.open_connection().closing(reason);
        }
        drop(metrics.open_connection());
        ErrorCode::ALL.into_iter().for_each(|code| metrics.message_rejected(code));
        for source in SOURCES {
            FINISHES.into_iter().for_each(|finish| metrics.turn_ended(source, finish));
        }
        let text = metrics.registry().text();
        let has = |line: String| assert!(text.lines().any(|got| got == line), "no {line} in\n{text}");
        has("psicoia_core_connections_open 0".to_owned());
        has("psicoia_core_connections_opened_total 15".to_owned());
        for reason in CloseReason::ALL {
            let count = 1 + u32::from(reason == CloseReason::Internal);
            has(format!("psicoia_core_connections_closed_total{{reason=\"{reason}\"}} {count}"));
        }
        for code in ErrorCode::ALL {
            has(format!("psicoia_core_messages_rejected_total{{code=\"{code}\"}} 1"));
        }
        for source in SOURCES {
            for finish in FINISHES {
                has(format!("psicoia_core_turns_total{{finish=\"{finish}\",source=\"{source}\"}} 1"));
            }
        }
    }
}
