//! Injects a fault and verifies that it held.

use std::path::Path;

use rusqlite::Connection;
use testkit::llm::LlmStandin;
use testkit::postgres::{Postgres, PostgresError, Stop};
use testkit::process::ProcessError;
use testkit::redis::Redis;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::STEP_TIMEOUT;
use super::background_load::BackgroundLoad;
use super::condition::Condition;
use super::raw_user::{EntryPoint, RawUser};
use crate::error::LoadError;
use crate::service_stack::{ServiceStack, Setting};
use crate::stats::rate;

/// Logged by a core once Redis is connected.
const REDIS_CONNECTED: &str = "redis connected";
/// Logged by a core when Redis is lost.
const REDIS_LOST: &str = "redis connection lost; enforcing per-core share of limits";
/// Model calls after which the background load counts as running.
const MIN_BACKGROUND_CALLS: u64 = 500;

/// Database and Redis servers of a run.
#[derive(Debug, Default)]
pub(super) struct Stores {
    postgres: Option<Postgres>,
    database: Option<String>,
    redis: Option<Redis>,
}

impl Stores {
    pub(super) async fn start(condition: Condition, redis_server: &Path) -> Result<Self, LoadError> {
        if !condition.needs_postgres() {
            return Ok(Self::default());
        }
        let (postgres, database) = run_blocking(|| {
            let postgres = Postgres::start_new()?;
            let database = postgres.create_database("psicoia")?;
            Ok::<_, PostgresError>((postgres, database))
        })
        .await?;
        let redis = if condition.needs_redis() { Some(Redis::start_program(redis_server).await?) } else { None };
        Ok(Self { postgres: Some(postgres), database: Some(database), redis })
    }

    pub(super) fn settings(&self) -> impl Iterator<Item = Setting> {
        let database = self.database.iter().map(|url| ("DATABASE_URL", url.clone()));
        database.chain(self.redis.iter().map(|redis| ("REDIS_URL", redis.url())))
    }

    pub(super) async fn wait_until_redis_connected(&self, stack: &ServiceStack) -> Result<(), LoadError> {
        if self.redis.is_some() { stack.core.wait_for_log(REDIS_CONNECTED).await } else { Ok(()) }
    }
}

/// Injected fault, reverted on drop.
#[derive(Debug)]
pub(super) struct Fault {
    /// Servers, running, frozen or killed.
    _stores: Stores,
    /// Holds an open write transaction.
    _lock: Option<Connection>,
    /// Users that occupy the slot and the queue.
    _queue_fillers: Vec<RawUser>,
    load: Option<MeasuredLoad>,
}

/// Background load, and the model's call count at its start.
#[derive(Debug)]
struct MeasuredLoad {
    _load: BackgroundLoad,
    begin: Instant,
    calls: u64,
}

impl Fault {
    pub(super) async fn begin(
        condition: Condition,
        stack: &ServiceStack,
        mut stores: Stores,
        witness: &mut RawUser,
    ) -> Result<Self, LoadError> {
        let (mut lock, mut queue_fillers, mut load) = (None, Vec::new(), None);
        match condition {
            Condition::QueueFull => queue_fillers = fill_queue(stack).await?,
            Condition::SqliteLocked => lock = Some(lock_database(stack)?),
            Condition::PostgresFrozen => stores.postgres.as_ref().map_or(Ok(()), |server| server.freeze(true))?,
            Condition::PostgresKilled => stores = run_blocking(move || stores.without_postgres()).await,
            Condition::RedisFrozen => stores.redis.as_ref().map_or(Ok(()), |redis| redis.freeze(true))?,
            Condition::RedisKilled => {
                if let Some(redis) = &mut stores.redis {
                    redis.kill().await?;
                }
            }
            Condition::Draining => {
                stack.core.ask_to_stop()?;
                required(condition, witness.draining()).await?;
            }
            Condition::UnderLoad => load = Some(MeasuredLoad::begin(stack).await?),
            Condition::Well
            | Condition::ModelSilent
            | Condition::ModelStuck
            | Condition::LimitsUsedUp
            | Condition::PersonBusy => {}
        }
        Ok(Self { _stores: stores, _lock: lock, _queue_fillers: queue_fillers, load })
    }

    /// Verifies that the condition still holds. Returns the answers per second of the background load, if any.
    pub(super) async fn lasted(
        self,
        condition: Condition,
        stack: &ServiceStack,
        witness: &mut RawUser,
    ) -> Result<Option<f64>, LoadError> {
        if condition.needs_redis() {
            stack.core.wait_for_log(REDIS_LOST).await?;
        }
        if let Some(code) = condition.refuses_with() {
            let got = required(condition, witness.is_refused_with()).await?;
            if got != code {
                return Err(LoadError::Lapsed { condition, got });
            }
        }
        Ok(self.load.map(|load| load.calls_per_second(&stack.model.standin)))
    }
}

/// Bounds a step that must succeed.
async fn required<T>(condition: Condition, result: impl Future<Output = Result<T, String>>) -> Result<T, LoadError> {
    let lapsed = |got: String| LoadError::Lapsed { condition, got };
    timeout(STEP_TIMEOUT, result).await.map_err(|_| lapsed("nothing".to_owned()))?.map_err(lapsed)
}

/// Occupies the only slot and the only queue place.
async fn fill_queue(stack: &ServiceStack) -> Result<Vec<RawUser>, LoadError> {
    let mut people = EntryPoint::Core.open(stack, 2).await?;
    for (person, frame) in people.iter_mut().zip(["accepted", "queued"]) {
        required(Condition::QueueFull, person.asks_and_waits(frame)).await?;
        // The second message must follow the first call, or it would take the slot.
        let model = &stack.model.standin;
        model.wait_for(|_| model.in_flight() == 1).await.map_err(ProcessError::from)?;
    }
    Ok(people)
}

/// Takes SQLite's write lock from another process.
fn lock_database(stack: &ServiceStack) -> Result<Connection, LoadError> {
    let database = Connection::open(stack.folder().join("core/data/psicoia.db"))?;
    database.execute_batch("BEGIN IMMEDIATE")?;
    Ok(database)
}

impl Stores {
    /// Crashes PostgreSQL.
    fn without_postgres(mut self) -> Self {
        if let Some(postgres) = &mut self.postgres {
            postgres.stop(Stop::Immediate);
        }
        self
    }
}

impl MeasuredLoad {
    async fn begin(stack: &ServiceStack) -> Result<Self, LoadError> {
        let (load, model) = (BackgroundLoad::start(stack)?, &stack.model.standin);
        model.wait_for(|_| MIN_BACKGROUND_CALLS <= model.total()).await.map_err(ProcessError::from)?;
        Ok(Self { _load: load, begin: Instant::now(), calls: model.total() })
    }

    fn calls_per_second(&self, model: &LlmStandin) -> f64 {
        rate(model.total().saturating_sub(self.calls), self.begin.elapsed())
    }
}

/// Runs blocking work off the runtime's thread.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
