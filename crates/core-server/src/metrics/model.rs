//! Concurrency, calls and circuit breakers of the model's providers.

use boot::metrics::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, SHORT, integer,
};

use super::names::Metric;

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

/// State of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// One probe passes.
    HalfOpen,
    /// No call passes.
    Open,
}

impl BreakerState {
    /// Every state, in the order of the gauge's values.
    pub const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// Metrics of the model, over its providers.
#[derive(Debug)]
pub struct ModelMetrics {
    concurrency_limit: IntGauge,
    permits_in_use: IntGauge,
    queue_length: IntGauge,
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
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            concurrency_limit: registry.gauge(Metric::ModelConcurrencyLimit),
            permits_in_use: registry.gauge(Metric::ModelPermitsInUse),
            queue_length: registry.gauge(Metric::ModelQueueLength),
            retries: registry.counter(Metric::ModelRetries),
            tokens: registry.counter(Metric::ModelTokens),
            tokens_today: registry.gauge(Metric::ModelTokensToday),
            tokens_per_day: registry.gauge(Metric::ModelTokensPerDay),
            calls: registry.counters(Metric::ModelCalls),
            connections_max: registry.gauges(Metric::ModelConnectionsMax),
            connections_in_use: registry.gauges(Metric::ModelConnectionsInUse),
            connections_open: registry.gauges(Metric::ModelConnectionsOpen),
            connections_idle: registry.gauges(Metric::ModelConnectionsIdle),
            connection_wait: registry.histograms(Metric::ModelConnectionWait, SHORT),
            exhausted: registry.counters(Metric::ModelConnectionsExhausted),
            connects: registry.counters(Metric::ModelConnects),
            connect: registry.histograms(Metric::ModelConnectDuration, SHORT),
            breaker_state: registry.gauges(Metric::BreakerState),
            breaker_transitions: registry.counters(Metric::BreakerTransitions),
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

    /// Sets the limit on concurrent answers, the permits in use and the queue length.
    pub fn set_concurrency(&self, count: usize, in_use: usize, waiting: usize) {
        self.concurrency_limit.set(integer(count));
        self.permits_in_use.set(integer(in_use));
        self.queue_length.set(integer(waiting));
    }
}

impl ProviderMetrics {
    /// Counts a finished call.
    pub fn call_ended(&self, outcome: CallOutcome) {
        self.calls[outcome as usize].inc();
    }

    /// Sets the limit on concurrent calls.
    pub fn set_connections_max(&self, most: usize) {
        self.connections_max.set(integer(most));
    }

    /// Counts a transition of the breaker to `state`.
    pub fn breaker_transition(&self, state: BreakerState) {
        self.breaker_transitions[state as usize].inc();
    }

    /// Sets the state of the breaker.
    pub fn set_breaker(&self, state: BreakerState) {
        self.breaker_state.set(integer(state as usize));
    }
}

impl Default for ProviderMetrics {
    /// Metrics on a throw-away registry, for tests.
    fn default() -> Self {
        ModelMetrics::new(&Registry::default()).provider("")
    }
}
