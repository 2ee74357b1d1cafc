//! PostgreSQL server that tests stop and start.

use std::sync::{Arc, Mutex};

use testkit::postgres::{Postgres, Stop};
use tokio::task::spawn_blocking;

/// PostgreSQL server of one test. Blocking calls run on blocking threads.
#[derive(Clone)]
pub(crate) struct Server(Arc<Mutex<Postgres>>);

impl Server {
    /// Starts a server; returns it with the URL of a new database.
    pub(crate) async fn start() -> (Self, String) {
        let start = || {
            let postgres = Postgres::start_new().unwrap();
            let url = postgres.create_database("psicoia").unwrap();
            (postgres, url)
        };
        let (postgres, url) = spawn_blocking(start).await.unwrap();
        (Self(Arc::new(Mutex::new(postgres))), url)
    }

    pub(crate) async fn with<T>(&self, work: impl FnOnce(&mut Postgres) -> T + Send + 'static) -> T
    where
        T: Send + 'static,
    {
        let postgres = Arc::clone(&self.0);
        spawn_blocking(move || work(&mut postgres.lock().unwrap())).await.unwrap()
    }

    /// Runs SQL in the database of [`Server::start`]; returns the rows in `psql` format.
    pub(crate) async fn sql(&self, sql: &'static str) -> String {
        self.with(|postgres| postgres.sql("psicoia", sql).unwrap()).await
    }

    /// Terminates all connections.
    pub(crate) async fn stop(&self) {
        self.with(|postgres| postgres.stop(Stop::Immediate)).await;
    }

    pub(crate) async fn start_again(&self) {
        self.with(|postgres| postgres.start().unwrap()).await;
    }
}
