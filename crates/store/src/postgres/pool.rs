//! Connection pool.

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
use crate::metrics::{DatabaseMeter, PoolUse};
use crate::url::PostgresUrl;
use service_runtime::tls;

/// Timeout of a connection attempt, and of waiting for a free connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of a statement. Longer than the server's own `statement_timeout` (`SESSION`), so that it expires
/// only if the server is unreachable.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(6);
/// TCP keepalive of idle connections. Balancers and NAT silently drop flows that are idle for minutes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;
/// Set-up of every connection. All other statements assume this isolation level.
const SESSION: &str = "SET statement_timeout = '5s'; SET lock_timeout = '5s'; \
    SET idle_in_transaction_session_timeout = '10s'; SET default_transaction_isolation = 'read committed'; \
    SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean";

/// Connection pool, filled on demand. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct ConnectionPool {
    pool: Pool<ConnectionManager>,
    meter: DatabaseMeter,
}

impl ConnectionPool {
    /// Creates a pool of at most `max_connections` to the server at `url`, without connecting.
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

    /// Acquires a connection; waits for a free one if there are enough.
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

    /// Returns the state and the metrics of the pool.
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

/// Connection settings for `url`.
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

/// Established connection after its set-up.
#[derive(Debug)]
pub(super) struct ServerConnection {
    pub(super) client: ClientWrapper,
    /// False once the server has refused a write.
    pub(super) may_write: bool,
}

/// Creates connections, and checks returned ones.
#[derive(Debug)]
pub(super) struct ConnectionManager {
    /// Connects to the first host that accepts writes: a standby that comes first in the address must not be
    /// chosen again each time.
    writable: Manager,
    /// Connects to the first host that answers: if none accepts writes, stored entries are still readable.
    any: Manager,
}

impl managed::Manager for ConnectionManager {
    type Type = ServerConnection;
    type Error = tokio_postgres::Error;

    async fn create(&self) -> Result<ServerConnection, tokio_postgres::Error> {
        let client = match managed::Manager::create(&self.writable).await {
            // No second attempt where the server itself has refused, as for a wrong password.
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
    fn tcp_keepalive_is_always_on() {
        for url in ["postgres://ana@host/db", "postgres://ana@host/db?keepalives=0&keepalives_idle=7200"] {
            let config = connection_config(&url.parse().unwrap());
            assert!(config.get_keepalives(), "{url}");
            assert_eq!(config.get_keepalives_idle(), KEEPALIVE_INTERVAL, "{url}");
            assert_eq!(config.get_keepalives_interval(), Some(KEEPALIVE_INTERVAL), "{url}");
            assert_eq!(config.get_keepalives_retries(), Some(KEEPALIVE_RETRIES), "{url}");
        }
    }
}
