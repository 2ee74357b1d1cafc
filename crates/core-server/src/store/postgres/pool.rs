//! Connections to the server.

use std::error::Error;
use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Status, TimeoutType,
};
use tokio::time::{Instant, timeout};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::metrics::{DatabaseMeter, PoolUse};
use crate::store::{PostgresUrl, StoreError};
use crate::tls;

/// How long a connection may take, and how long is waited for one that is in use.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How long is waited for an answer: longer than the server works on it (`SESSION`), so that
/// only one that is out of reach is given up.
const ANSWER_LIMIT: Duration = Duration::from_secs(6);
/// What every connection begins with. The statements are written for this isolation level.
const SESSION: &str = "SET statement_timeout = '5s'; SET lock_timeout = '5s'; \
    SET idle_in_transaction_session_timeout = '10s'; SET default_transaction_isolation = 'read committed'";

/// Parameters of a statement.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The connections to a server, opened as they are needed.
#[derive(Debug)]
pub(super) struct Connections {
    pool: Pool,
    meter: DatabaseMeter,
}

impl Connections {
    /// At most `most` connections to the server at `url`. None is opened yet.
    pub(super) fn new(url: &PostgresUrl, most: usize) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut config = url.config().clone();
        if config.get_application_name().is_none() {
            config.application_name("psicoia");
        }
        config.tcp_user_timeout(ANSWER_LIMIT);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match config.get_ssl_mode() {
            SslMode::Disable => Manager::from_config(config, NoTls, recycling),
            _ => Manager::from_config(config, MakeRustlsConnect::new(tls::client_config()?), recycling),
        };
        let set_up = Hook::async_fn(|client, _| {
            Box::pin(async move { client.batch_execute(SESSION).await.map_err(HookError::Backend) })
        });
        let pool = Pool::builder(manager)
            .max_size(most)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECT_LIMIT))
            .create_timeout(Some(CONNECT_LIMIT))
            .recycle_timeout(Some(CONNECT_LIMIT))
            .post_create(set_up);
        Ok(Self { pool: pool.build()?, meter: DatabaseMeter::default() })
    }

    /// A connection of the caller's own until it is dropped.
    pub(super) async fn lease(&self) -> Result<Lease, Failure> {
        let begin = Instant::now();
        let client = self.pool.get().await;
        match &client {
            Ok(_) => self.meter.wait.observe(begin.elapsed().as_secs_f64()),
            Err(PoolError::Timeout(TimeoutType::Wait)) => self.meter.exhausted.inc(),
            Err(_) => {}
        }
        Ok(Lease { client: Some(client?), sound: true })
    }

    /// How they are used at the moment, and what was counted.
    pub(super) fn usage(&self) -> (PoolUse, DatabaseMeter) {
        let Status { max_size, size, available, waiting } = self.pool.status();
        (PoolUse { max: max_size, open: size, idle: available, awaited: waiting }, self.meter.clone())
    }
}

/// A connection. Goes back to the others when it is dropped, unless something is the matter with
/// it or is still under way on it: then it is closed, which also ends its transaction.
#[derive(Debug)]
pub(super) struct Lease {
    /// There until it is dropped.
    client: Option<Object>,
    sound: bool,
}

impl Lease {
    /// Runs a statement, prepared where this connection has not run it before.
    pub(super) async fn query(&mut self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, Failure> {
        self.run(async |client| {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, parameters).await
        })
        .await
    }

    /// Runs a statement that returns nothing; says how many rows it has changed.
    pub(super) async fn execute(&mut self, sql: &str, parameters: Parameters<'_>) -> Result<u64, Failure> {
        self.run(async |client| {
            let statement = client.prepare_cached(sql).await?;
            client.execute(&statement, parameters).await
        })
        .await
    }

    /// Runs statements in one go and in one transaction; says how many rows each has changed.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<Vec<u64>, Failure> {
        use tokio_postgres::SimpleQueryMessage::CommandComplete;
        let messages = self.run(async |client| client.simple_query(sql).await).await?;
        Ok(messages
            .iter()
            .filter_map(|message| if let CommandComplete(rows) = message { Some(*rows) } else { None })
            .collect())
    }

    /// Begins a transaction. Without [`Lease::commit`] nothing of it happens.
    pub(super) async fn begin(&mut self) -> Result<(), Failure> {
        self.batch("BEGIN").await.map(drop)
    }

    /// Ends the transaction; what it did is on the disk.
    pub(super) async fn commit(&mut self) -> Result<(), Failure> {
        self.batch("COMMIT").await.map(drop)
    }

    /// The connection itself. It will not go back to the others.
    pub(super) fn into_client(mut self) -> Option<deadpool_postgres::ClientWrapper> {
        self.client.take().map(Object::take)
    }

    async fn run<T>(
        &mut self,
        call: impl AsyncFnOnce(&Object) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Failure> {
        // Stays that way if this future is dropped.
        self.sound = false;
        let client = self.client.as_ref().expect("a lease has its connection until it is dropped");
        let answer = timeout(ANSWER_LIMIT, call(client)).await.map_err(|_| Failure::silent())?;
        let answer = answer.map_err(Failure::from);
        self.sound = answer.as_ref().map_or_else(Failure::is_of_the_statement, |_| true);
        answer
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.sound {
            drop(self.client.take().map(Object::take));
        }
    }
}

/// Why the server did not do it. Has neither parameters nor rows in it.
#[derive(Debug)]
pub(super) struct Failure {
    code: Option<SqlState>,
    what: String,
}

impl Failure {
    /// An entry with that key is there.
    pub(super) fn is_unique_violation(&self) -> bool {
        self.code == Some(SqlState::UNIQUE_VIOLATION)
    }

    fn silent() -> Self {
        Self { code: None, what: format!("no answer within {} s", ANSWER_LIMIT.as_secs()) }
    }

    /// Whether another statement may do better on the same connection.
    fn is_of_the_statement(&self) -> bool {
        self.is_unique_violation() || self.code.as_ref().is_some_and(|code| code.code() == READ_ONLY)
    }
}

/// The code of a server that only reads now: a standby, or one whose owner says so.
const READ_ONLY: &str = "25006";

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // Not its detail, which may repeat what a row holds.
            Some(said) => Self {
                code: Some(said.code().clone()),
                what: format!("{} (SQLSTATE {})", said.message(), said.code().code()),
            },
            None => Self { code: None, what: with_causes(&error) },
        }
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        let what = match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => return error.into(),
            PoolError::Timeout(TimeoutType::Wait) => "every connection is in use".to_owned(),
            PoolError::Timeout(_) => format!("no connection within {} s", CONNECT_LIMIT.as_secs()),
            error @ (PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_)) => {
                error.to_string()
            }
        };
        Self { code: None, what }
    }
}

impl From<Failure> for StoreError {
    fn from(Failure { code, what }: Failure) -> Self {
        match code {
            Some(SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED) => Self::Damaged(what),
            _ => Self::unavailable(what),
        }
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
