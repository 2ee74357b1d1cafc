//! What the admin port tells: metrics, and whether the core is ready.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use boot::admin::{Admin, Cached, Draining, Probe, State};

use super::Server;
use crate::connection;
use crate::limits::SlotsLoad;
use crate::store::Store;

/// How long an answer of the database counts, and how long it has for one.
const STORE_LASTS: Duration = Duration::from_secs(1);
const STORE_LIMIT: Duration = Duration::from_secs(1);

impl Server {
    /// What the admin port of this server tells. To be called once: each has metrics of the process.
    pub fn admin(&self) -> Admin {
        let context = Arc::clone(&self.context);
        let store = Arc::clone(&context.sessions.engine().store);
        let admin = Admin::new(self.metrics.registry().clone(), move || refresh(&context))
            .with(Arc::new(Draining(self.context.draining.clone())))
            .with(Arc::new(Cached::new(StoreProbe(store), STORE_LASTS, STORE_LIMIT)));
        if self.context.sessions.engine().model.is_some() {
            admin.with(Arc::new(ModelProbe(Arc::clone(&self.context))))
        } else {
            admin
        }
    }
}

/// Tells what is not counted as it happens.
fn refresh(context: &connection::Context) {
    let engine = context.sessions.engine();
    let metrics = &engine.metrics;
    metrics.sessions_live.set(i64::try_from(context.sessions.live_count()).unwrap_or(i64::MAX));
    let SlotsLoad { count, in_use, waiting } = engine.slots.load();
    metrics.model.set_slots(count, in_use, waiting);
    if let Some(model) = &engine.model {
        model.refresh_metrics();
    }
    if let Some((usage, _)) = engine.store.pool() {
        metrics.database.set(usage);
    }
}

/// Whether the database answers. Without it nothing can be accepted.
struct StoreProbe(Arc<dyn Store>);

#[async_trait]
impl Probe for StoreProbe {
    fn name(&self) -> &'static str {
        "store"
    }

    async fn state(&self) -> State {
        match self.0.check().await {
            Ok(()) => State::Ok,
            Err(error) => State::Down(error.to_string()),
        }
    }
}

/// Whether a provider is asked. Without one the companion answers.
struct ModelProbe(Arc<connection::Context>);

#[async_trait]
impl Probe for ModelProbe {
    fn name(&self) -> &'static str {
        "model"
    }

    async fn state(&self) -> State {
        match &self.0.sessions.engine().model {
            Some(model) if model.is_left_alone() => {
                State::Degraded("every provider is left alone for a while: the companion answers".to_owned())
            }
            Some(_) | None => State::Ok,
        }
    }
}
