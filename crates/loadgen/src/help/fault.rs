//! How a condition comes about, and whether it has lasted.

use std::path::Path;

use rusqlite::Connection;
use testkit::llm::LlmStandin;
use testkit::postgres::{Postgres, PostgresError, Stop};
use testkit::process::ProcessError;
use testkit::redis::Redis;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::LIMIT;
use super::condition::Condition;
use super::crowd::Crowd;
use super::visitor::{Door, Visitor};
use crate::error::LoadError;
use crate::stats::rate;
use crate::town::{Setting, Town};

/// What a core logs when it shares.
const LINKED: &str = "redis connected";
/// What a core logs when it cannot.
const NOT_LINKED: &str = "redis connection lost; enforcing per-core share of limits";
/// Calls to the model that show that others talk.
const TALKING: u64 = 500;

/// The servers that the core needs beside a model.
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
        let (postgres, database) = apart(|| {
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

    /// Waits until the core shares through Redis, if there is one.
    pub(super) async fn linked(&self, town: &Town) -> Result<(), LoadError> {
        if self.redis.is_some() { town.core.wait_for_log(LINKED).await } else { Ok(()) }
    }
}

/// A condition that is there; over when dropped.
#[derive(Debug)]
pub(super) struct Fault {
    /// Servers run, hang or are gone for as long as this.
    _stores: Stores,
    /// Holds a transaction.
    _lock: Option<Connection>,
    /// Those who have the slot and the place in the queue.
    _in_the_way: Vec<Visitor>,
    talk: Option<Talk>,
}

/// Others who talk, and the calls that the model had when the fault had begun.
#[derive(Debug)]
struct Talk {
    _crowd: Crowd,
    begin: Instant,
    calls: u64,
}

impl Fault {
    pub(super) async fn begin(
        condition: Condition,
        town: &Town,
        mut stores: Stores,
        witness: &mut Visitor,
    ) -> Result<Self, LoadError> {
        let (mut lock, mut in_the_way, mut talk) = (None, Vec::new(), None);
        match condition {
            Condition::QueueFull => in_the_way = fill_queue(town).await?,
            Condition::SqliteLocked => lock = Some(lock_database(town)?),
            Condition::PostgresFrozen => stores.postgres.as_ref().map_or(Ok(()), |server| server.freeze(true))?,
            Condition::PostgresKilled => stores = apart(move || stores.without_postgres()).await,
            Condition::RedisFrozen => stores.redis.as_ref().map_or(Ok(()), |redis| redis.freeze(true))?,
            Condition::RedisKilled => {
                if let Some(redis) = &mut stores.redis {
                    redis.kill().await?;
                }
            }
            Condition::Draining => {
                town.core.ask_to_stop()?;
                seen(condition, witness.draining()).await?;
            }
            Condition::UnderLoad => talk = Some(Talk::begin(town).await?),
            Condition::Well
            | Condition::ModelSilent
            | Condition::ModelStuck
            | Condition::LimitsUsedUp
            | Condition::PersonBusy => {}
        }
        Ok(Self { _stores: stores, _lock: lock, _in_the_way: in_the_way, talk })
    }

    /// Checks that the condition has been there until now. Gives the answers a second that others had, if they talked.
    pub(super) async fn lasted(
        self,
        condition: Condition,
        town: &Town,
        witness: &mut Visitor,
    ) -> Result<Option<f64>, LoadError> {
        if condition.needs_redis() {
            town.core.wait_for_log(NOT_LINKED).await?;
        }
        if let Some(code) = condition.refuses_with() {
            let got = seen(condition, witness.is_refused_with()).await?;
            if got != code {
                return Err(LoadError::Lapsed { condition, got });
            }
        }
        Ok(self.talk.map(|talk| talk.calls_per_second(&town.model.standin)))
    }
}

/// A result that must come.
async fn seen<T>(condition: Condition, result: impl Future<Output = Result<T, String>>) -> Result<T, LoadError> {
    let lapsed = |got: String| LoadError::Lapsed { condition, got };
    timeout(LIMIT, result).await.map_err(|_| lapsed("nothing".to_owned()))?.map_err(lapsed)
}

/// Takes the only slot and the only place in the queue.
async fn fill_queue(town: &Town) -> Result<Vec<Visitor>, LoadError> {
    let mut people = Door::Core.open(town, 2).await?;
    for (person, told) in people.iter_mut().zip(["accepted", "queued"]) {
        seen(Condition::QueueFull, person.asks_and_waits(told)).await?;
        // Only once the first one has the slot does the next one have to wait.
        let model = &town.model.standin;
        model.wait_for(|_| model.in_flight() == 1).await.map_err(ProcessError::from)?;
    }
    Ok(people)
}

/// Locks the database for writing, as another process.
fn lock_database(town: &Town) -> Result<Connection, LoadError> {
    let database = Connection::open(town.folder().join("core/data/psicoia.db"))?;
    database.execute_batch("BEGIN IMMEDIATE")?;
    Ok(database)
}

impl Stores {
    /// Ends PostgreSQL as in a crash.
    fn without_postgres(mut self) -> Self {
        if let Some(postgres) = &mut self.postgres {
            postgres.stop(Stop::Immediate);
        }
        self
    }
}

impl Talk {
    async fn begin(town: &Town) -> Result<Self, LoadError> {
        let (crowd, model) = (Crowd::start(town)?, &town.model.standin);
        model.wait_for(|_| TALKING <= model.total()).await.map_err(ProcessError::from)?;
        Ok(Self { _crowd: crowd, begin: Instant::now(), calls: model.total() })
    }

    fn calls_per_second(&self, model: &LlmStandin) -> f64 {
        rate(model.total().saturating_sub(self.calls), self.begin.elapsed())
    }
}

/// Does what blocks where it holds up nothing else.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
