//! Admin port: metrics and readiness.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cluster::Cluster;
use llm::{Model, Readiness};
use service_runtime::admin::{Admin, CachedProbe, DrainingProbe, Probe, ProbeState};
use service_runtime::metrics::to_gauge;
use store::Store;

use super::Server;
use crate::connection;

/// Cache time and timeout of the store's check: frequent probes must neither load the database nor pile up behind it.
const STORE_CHECK_TTL: Duration = Duration::from_secs(1);
const STORE_CHECK_TIMEOUT: Duration = Duration::from_secs(1);

impl Server {
    /// Builds the admin service of this server. Must be called once: each admin service registers the process metrics.
    pub fn admin(&self) -> Admin {
        let context = Arc::clone(&self.context);
        let store = Arc::clone(&context.sessions.turns().store);
        let admin = Admin::new(self.metrics.registry().clone(), move || refresh(&context))
            .with(Arc::new(DrainingProbe(self.context.draining.clone())))
            .with(Arc::new(CachedProbe::new(StoreProbe(store), STORE_CHECK_TTL, STORE_CHECK_TIMEOUT)));
        let turns = self.context.sessions.turns();
        let admin = match &turns.model {
            Some(model) => {
                let admin = admin.with(Arc::new(ModelProbe(Arc::clone(&self.context))));
                let is_limited = model.tokens().limit().is_some();
                if is_limited { admin.with(Arc::new(TokensProbe(Arc::clone(&self.context)))) } else { admin }
            }
            None => admin,
        };
        match &turns.cluster {
            Some(cluster) => admin.with(Arc::new(RedisProbe(Arc::clone(cluster)))),
            None => admin,
        }
    }
}

impl Server {
    /// Prepares the second opinion, if configured. See [`Guard::prepare`](crate::guard::Guard::prepare).
    pub async fn prepare_guard(&self) {
        if let Some(guard) = &self.context.sessions.turns().guard {
            guard.prepare().await;
        }
    }

    /// Checks the model's providers once, and logs the results. See [`Model::check`].
    pub async fn check_model(&self) {
        if let Some(model) = &self.context.sessions.turns().model {
            model.check().await;
        }
    }
}

/// Sets the gauges that are read at a scrape instead of being counted.
fn refresh(context: &connection::Context) {
    let turns = context.sessions.turns();
    let metrics = &turns.metrics;
    metrics.sessions_live.set(to_gauge(context.sessions.live_count()));
    metrics.set_concurrency(turns.slots.load());
    if let Some(model) = &turns.model {
        model.refresh_metrics(&metrics.model);
    }
    let membership = turns.cluster.as_ref().map(|cluster| (cluster.is_connected(), cluster.members()));
    let (is_connected, cores) = membership.unwrap_or((false, 1));
    metrics.cluster.redis_up.set(is_connected.into());
    metrics.cluster.members.set(to_gauge(cores));
    if let Some((usage, _)) = turns.store.pool() {
        metrics.database.set(usage);
    }
}

/// Down while the database does not answer: no message can be accepted.
struct StoreProbe(Arc<dyn Store>);

#[async_trait]
impl Probe for StoreProbe {
    fn name(&self) -> &'static str {
        "store"
    }

    async fn state(&self) -> ProbeState {
        match self.0.check().await {
            Ok(()) => ProbeState::Ok,
            Err(error) => ProbeState::Down(error.to_string()),
        }
    }
}

/// Degraded while answers come from the companion instead of the model.
struct ModelProbe(Arc<connection::Context>);

impl ModelProbe {
    fn readiness(&self) -> Option<Readiness> {
        self.0.sessions.turns().model.as_ref().map(Model::readiness)
    }
}

#[async_trait]
impl Probe for ModelProbe {
    fn name(&self) -> &'static str {
        "model"
    }

    async fn state(&self) -> ProbeState {
        self.readiness().and_then(|readiness| readiness.problem).map_or(ProbeState::Ok, ProbeState::Degraded)
    }

    fn detail(&self) -> Option<String> {
        self.readiness().and_then(|readiness| readiness.models)
    }
}

/// Degraded while the day's tokens are used up: the companion answers until midnight UTC.
struct TokensProbe(Arc<connection::Context>);

#[async_trait]
impl Probe for TokensProbe {
    fn name(&self) -> &'static str {
        "tokens"
    }

    async fn state(&self) -> ProbeState {
        match &self.0.sessions.turns().model {
            Some(model) if model.tokens().is_used_up() => ProbeState::Degraded(
                "LLM_TOKENS_PER_DAY is used up: the companion answers until midnight UTC".to_owned(),
            ),
            Some(_) | None => ProbeState::Ok,
        }
    }

    fn detail(&self) -> Option<String> {
        let tokens = self.0.sessions.turns().model.as_ref()?.tokens();
        Some(format!("{} of {}", tokens.used(), tokens.limit()?))
    }
}

/// Degraded without Redis: the cores cannot agree on the limits, so each enforces its share.
struct RedisProbe(Arc<Cluster>);

#[async_trait]
impl Probe for RedisProbe {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn state(&self) -> ProbeState {
        if self.0.is_connected() {
            return ProbeState::Ok;
        }
        let cores = self.0.members();
        ProbeState::Degraded(format!("not connected; enforcing per-core share of limits, 1 of {cores}"))
    }
}
