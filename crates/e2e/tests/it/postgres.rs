//! A PostgreSQL that is stopped and started while everything else goes on.

use std::sync::{Arc, Mutex};

use testkit::postgres::{Postgres, Stop};
use tokio::task::spawn_blocking;

/// A server of its own. Its calls block, and are made where that holds up nobody.
#[derive(Clone)]
pub(crate) struct Server(Arc<Mutex<Postgres>>);

impl Server {
    /// A new one, and the URL of a database in it.
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

    /// Runs SQL in the database of [`Server::start`]; gives the rows as `psql` writes them.
    pub(crate) async fn sql(&self, sql: &'static str) -> String {
        self.with(|postgres| postgres.sql("psicoia", sql).unwrap()).await
    }

    /// Breaks all its connections off.
    pub(crate) async fn stop(&self) {
        self.with(|postgres| postgres.stop(Stop::Immediate)).await;
    }

    pub(crate) async fn start_again(&self) {
        self.with(|postgres| postgres.start().unwrap()).await;
    }
}
