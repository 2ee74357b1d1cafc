//! Metrics of the model: calls, tokens, connections and circuit breakers of its providers.

use service_runtime::metrics::{
    Histogram, HistogramVec, IO_SECONDS_BUCKETS, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, to_gauge,
};

use super::breaker_state::BreakerState;

service_runtime::metric_table! {
    /// Metrics of the model and its providers.
    pub enum ModelMetric in "psicoia_core_" {
        Calls: Counter "model_calls_total" ["provider", "outcome"] "Finished calls, by outcome.";
        Retries: Counter "model_retries_total" [] "Retry rounds after every provider failed.";
        Tokens: Counter "model_tokens_total" []
            "Tokens of prompts and answers, as counted by the providers, else estimated.";
        TokensToday: Gauge "model_tokens_today" []
            "Tokens used by all cores since midnight UTC, as known to this core.";
        TokensPerDay: Gauge "model_tokens_per_day" [] "Daily token limit (LLM_TOKENS_PER_DAY); 0: unlimited.";
        ConnectionsMax: Gauge "model_connections_max" ["provider"]
            "Limit on concurrent calls to a provider (LLM_MAX_CONNECTIONS).";
        ConnectionsInUse: Gauge "model_connections_in_use" ["provider"]
            "Calls to a provider in flight, each with its own connection.";
        ConnectionsOpen: Gauge "model_connections_open" ["provider"] "Open connections to a provider.";
        ConnectionsIdle: Gauge "model_connections_idle" ["provider"] "Idle pooled connections to a provider.";
        ConnectionWait: Histogram "model_connection_wait_seconds" ["provider"]
            "Time to acquire a connection for a call, in seconds.";
        ConnectionsExhausted: Counter "model_connections_exhausted_total" ["provider"]
            "Calls that timed out waiting because the provider's limit was reached.";
        Connects: Counter "model_connects_total" ["provider", "outcome"]
            "Connection attempts to a provider, by outcome: ok or failed.";
        ConnectDuration: Histogram "model_connect_duration_seconds" ["provider"]
            "Time to establish a connection to a provider, TLS included, in seconds.";
        BreakerState: Gauge "breaker_state" ["provider"]
            "Circuit breaker of a provider: 0 closed, 1 half-open, 2 open.";
        BreakerTransitions: Counter "breaker_transitions_total" ["provider", "to"]
            "Transitions of a provider's circuit breaker, by new state.";
    }
}

/// Outcome of a call to a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The answer arrived complete.
    Success,
    /// Dropped by the caller before its end.
    Cancelled,
    /// No connection, or it broke before the response began.
    Unreachable,
    /// An HTTP error status.
    Status,
    /// A timeout expired.
    Timeout,
    /// The response is not the API's.
    Malformed,
    /// The stream ended before the answer.
    Truncated,
    /// The answer has no text.
    Empty,
    /// The answer has no text, or a filter cut it; a finish reason says why.
    Withheld,
    /// The provider reported a failure in the stream.
    Reported,
    /// Not attempted: every connection was in use.
    Exhausted,
}

impl CallOutcome {
    /// Every outcome, in the order of the counters.
    pub const ALL: [Self; 11] = [
        Self::Success,
        Self::Cancelled,
        Self::Unreachable,
        Self::Status,
        Self::Timeout,
        Self::Malformed,
        Self::Truncated,
        Self::Empty,
        Self::Withheld,
        Self::Reported,
        Self::Exhausted,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Cancelled => "cancelled",
            Self::Unreachable => "unreachable",
            Self::Status => "status",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::Empty => "empty",
            Self::Withheld => "withheld",
            Self::Reported => "reported",
            Self::Exhausted => "exhausted",
        }
    }
}

/// Metrics of the model, over its providers.
#[derive(Debug)]
pub struct ModelMetrics {
    /// Retry rounds, after every provider has failed.
    pub retries: IntCounter,
    /// Tokens used since the start of the process.
    pub tokens: IntCounter,
    tokens_today: IntGauge,
    tokens_per_day: IntGauge,
    calls: IntCounterVec,
    connections_max: IntGaugeVec,
    connections_in_use: IntGaugeVec,
    connections_open: IntGaugeVec,
    connections_idle: IntGaugeVec,
    connection_wait: HistogramVec,
    exhausted: IntCounterVec,
    connects: IntCounterVec,
    connect: HistogramVec,
    breaker_state: IntGaugeVec,
    breaker_transitions: IntCounterVec,
}

/// Metrics of one provider, labels resolved.
#[derive(Debug)]
pub struct ProviderMetrics {
    /// In the order of [`CallOutcome::ALL`].
    calls: [IntCounter; CallOutcome::ALL.len()],
    connections_max: IntGauge,
    /// Calls in flight.
    pub connections_in_use: IntGauge,
    /// Open connections.
    pub connections_open: IntGauge,
    /// Open connections without a call.
    pub connections_idle: IntGauge,
    /// Time to acquire a permit for a call, in seconds.
    pub connection_wait: Histogram,
    /// Calls that timed out waiting for a permit.
    pub exhausted: IntCounter,
    /// Connections established.
    pub connects_ok: IntCounter,
    /// Failed connection attempts.
    pub connects_failed: IntCounter,
    /// Time to establish a connection, in seconds.
    pub connect: Histogram,
    breaker_state: IntGauge,
    /// In the order of [`BreakerState::ALL`].
    breaker_transitions: [IntCounter; BreakerState::ALL.len()],
}

impl ModelMetrics {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> Self {
        Self {
            retries: registry.counter(ModelMetric::Retries),
            tokens: registry.counter(ModelMetric::Tokens),
            tokens_today: registry.gauge(ModelMetric::TokensToday),
            tokens_per_day: registry.gauge(ModelMetric::TokensPerDay),
            calls: registry.counters(ModelMetric::Calls),
            connections_max: registry.gauges(ModelMetric::ConnectionsMax),
            connections_in_use: registry.gauges(ModelMetric::ConnectionsInUse),
            connections_open: registry.gauges(ModelMetric::ConnectionsOpen),
            connections_idle: registry.gauges(ModelMetric::ConnectionsIdle),
            connection_wait: registry.histograms(ModelMetric::ConnectionWait, IO_SECONDS_BUCKETS),
            exhausted: registry.counters(ModelMetric::ConnectionsExhausted),
            connects: registry.counters(ModelMetric::Connects),
            connect: registry.histograms(ModelMetric::ConnectDuration, IO_SECONDS_BUCKETS),
            breaker_state: registry.gauges(ModelMetric::BreakerState),
            breaker_transitions: registry.counters(ModelMetric::BreakerTransitions),
        }
    }

    /// Resolves the metrics of the provider `name`.
    pub fn provider(&self, name: &str) -> ProviderMetrics {
        let transitions = |to: BreakerState| self.breaker_transitions.with_label_values(&[name, to.name()]);
        ProviderMetrics {
            calls: CallOutcome::ALL.map(|outcome| self.calls.with_label_values(&[name, outcome.name()])),
            connections_max: self.connections_max.with_label_values(&[name]),
            connections_in_use: self.connections_in_use.with_label_values(&[name]),
            connections_open: self.connections_open.with_label_values(&[name]),
            connections_idle: self.connections_idle.with_label_values(&[name]),
            connection_wait: self.connection_wait.with_label_values(&[name]),
            exhausted: self.exhausted.with_label_values(&[name]),
            connects_ok: self.connects.with_label_values(&[name, "ok"]),
            connects_failed: self.connects.with_label_values(&[name, "failed"]),
            connect: self.connect.with_label_values(&[name]),
            breaker_state: self.breaker_state.with_label_values(&[name]),
            breaker_transitions: BreakerState::ALL.map(transitions),
        }
    }

    /// Sets the tokens used today and the daily limit; `None`: unlimited.
    pub fn set_tokens(&self, used: u64, limit: Option<u64>) {
        let value = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
        self.tokens_today.set(value(used));
        self.tokens_per_day.set(value(limit.unwrap_or_default()));
    }
}

impl ProviderMetrics {
    /// Counts a finished call.
    pub fn call_ended(&self, outcome: CallOutcome) {
        self.calls[outcome as usize].inc();
    }

    /// Sets the limit on concurrent calls.
    pub fn set_connections_max(&self, most: usize) {
        self.connections_max.set(to_gauge(most));
    }

    /// Counts a transition of the breaker to `state`.
    pub fn breaker_transition(&self, state: BreakerState) {
        self.breaker_transitions[state as usize].inc();
    }

    /// Sets the state of the breaker.
    pub fn set_breaker(&self, state: BreakerState) {
        self.breaker_state.set(to_gauge(state as usize));
    }
}

impl Default for ProviderMetrics {
    /// Metrics on a throw-away registry, for tests.
    fn default() -> Self {
        ModelMetrics::new(&Registry::default()).provider("")
    }
}
