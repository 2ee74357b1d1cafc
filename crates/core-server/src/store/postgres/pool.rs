//! Pool of connections to the server.

use std::error::Error;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, Pool, PoolError, RecycleResult, Status, TimeoutType};
use deadpool_postgres::{ClientWrapper, Manager, ManagerConfig, RecyclingMethod};
use tokio::time::Instant;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{Config, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;
use super::pooled_connection::PooledConnection;
use crate::store::{DatabaseMeter, PoolUse, PostgresUrl};
use crate::tls;

/// How long a connection may take, and how long is waited for one that is in use.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long is waited for an answer: longer than the server works on it (`SESSION`), so that
/// only one that is out of reach is given up.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(6);
/// Between two signs of life on an idle connection, and how many may be missing. Balancers and
/// NAT forget a flow that is silent for some minutes, and do not say so.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// First statements of every connection. Those that follow are written for this isolation level.
const SESSION: &str = "SET statement_timeout = '5s'; SET lock_timeout = '5s'; \
    SET idle_in_transaction_session_timeout = '10s'; SET default_transaction_isolation = 'read committed'; \
    SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean";

/// Connections to a server, opened as they are needed. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct ConnectionPool {
    pool: Pool<ConnectionManager>,
    meter: DatabaseMeter,
}

impl ConnectionPool {
    /// At most `most` connections to the server at `url`. None is opened yet.
    pub(super) fn new(url: &PostgresUrl, max_connections: usize) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let config = connection_config(url);
        let mut writable = config.clone();
        writable.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let pool = Pool::builder(ConnectionManager { writable: manager(writable)?, any: manager(config)? })
            .max_size(max_connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECT_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(CONNECT_TIMEOUT));
        Ok(Self { pool: pool.build()?, meter: DatabaseMeter::default() })
    }

    /// A connection of the caller's own until it is dropped.
    pub(super) async fn acquire(&self) -> Result<PooledConnection, PostgresError> {
        let begin = Instant::now();
        let client = self.pool.get().await;
        match &client {
            Ok(_) => self.meter.wait.observe(begin.elapsed().as_secs_f64()),
            Err(PoolError::Timeout(TimeoutType::Wait)) => self.meter.exhausted.inc(),
            Err(_) => {}
        }
        client.map(PooledConnection::new).map_err(|error| PostgresError::of_pool(error, CONNECT_TIMEOUT.as_secs()))
    }

    /// How they are used at the moment, and what was counted.
    pub(super) fn usage(&self) -> (PoolUse, DatabaseMeter) {
        let Status { max_size, size, available, waiting } = self.pool.status();
        (PoolUse { max: max_size, open: size, idle: available, pending: waiting }, self.meter.clone())
    }
}

fn manager(config: Config) -> Result<Manager, Box<dyn Error + Send + Sync>> {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    Ok(match config.get_ssl_mode() {
        SslMode::Disable => Manager::from_config(config, NoTls, recycling),
        _ => Manager::from_config(config, MakeRustlsConnect::new(tls::client_config()?), recycling),
    })
}

/// Settings of every connection to `url`.
fn connection_config(url: &PostgresUrl) -> Config {
    let mut config = url.config().clone();
    if config.get_application_name().is_none() {
        config.application_name("psicoia");
    }
    config.tcp_user_timeout(RESPONSE_TIMEOUT);
    config
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_INTERVAL)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES);
    config
}

/// A connection, set up.
#[derive(Debug)]
pub(super) struct ServerConnection {
    pub(super) client: ClientWrapper,
    /// Whether it led to a server that takes writes when it was made.
    pub(super) may_write: bool,
}

/// Makes connections and looks at those that come back.
#[derive(Debug)]
pub(super) struct ConnectionManager {
    /// To the first server at the address that takes writes: of several hosts or addresses a standby
    /// may come first, and would be found again each time.
    writable: Manager,
    /// To the first that answers. Where none takes writes, what is stored can still be read.
    any: Manager,
}

impl managed::Manager for ConnectionManager {
    type Type = ServerConnection;
    type Error = tokio_postgres::Error;

    async fn create(&self) -> Result<ServerConnection, tokio_postgres::Error> {
        let client = match managed::Manager::create(&self.writable).await {
            // A server that has refused this user or database is not asked twice.
            Err(error) if error.as_db_error().is_none() => managed::Manager::create(&self.any).await?,
            made => made?,
        };
        let answers = client.simple_query(SESSION).await?;
        let is_read_only =
            answers.iter().any(|answer| matches!(answer, SimpleQueryMessage::Row(row) if row.get(0) == Some("t")));
        Ok(ServerConnection { client, may_write: !is_read_only })
    }

    async fn recycle(
        &self,
        connection: &mut ServerConnection,
        metrics: &Metrics,
    ) -> RecycleResult<tokio_postgres::Error> {
        self.any.recycle(&mut connection.client, metrics).await
    }

    fn detach(&self, connection: &mut ServerConnection) {
        for manager in [&self.writable, &self.any] {
            manager.detach(&mut connection.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_are_kept_known_on_the_way() {
        for url in ["postgres://ana@host/db", "postgres://ana@host/db?keepalives=0&keepalives_idle=7200"] {
            let config = connection_config(&url.parse().unwrap());
            assert!(config.get_keepalives(), "{url}");
            assert_eq!(config.get_keepalives_idle(), KEEPALIVE_INTERVAL, "{url}");
            assert_eq!(config.get_keepalives_interval(), Some(KEEPALIVE_INTERVAL), "{url}");
            assert_eq!(config.get_keepalives_retries(), Some(KEEPALIVE_RETRIES), "{url}");
        }
    }
}
