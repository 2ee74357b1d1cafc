//! Databases for the contract suite.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use service_runtime::Secret;
use store::keys::{DataKey, Keyring};
use store::{DatabaseSettings, DatabaseUrl, MemoryStore, OpenError, Store, open};
use tempfile::TempDir;
use testkit::postgres::Postgres;

/// Returns a fixed data key for each number.
pub(super) fn key(name: u8) -> DataKey {
    let key = STANDARD.encode([name; 32]);
    DataKey::new(&Secret::read(Some(&key), None).unwrap().unwrap()).unwrap()
}

pub(super) fn keyring(current: Option<u8>, previous: &[u8]) -> Keyring {
    Keyring::new(current.map(key), previous.iter().copied().map(key).collect())
}

/// Returns the PostgreSQL server that concurrent tests of this process share.
fn server() -> Arc<Postgres> {
    static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    server.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Postgres::start_new().unwrap_or_else(|error| panic!("{error}")));
        *server = Arc::downgrade(&started);
        started
    })
}

/// Empty database that can be opened several times.
pub(super) struct Fixture {
    /// Name for assertion messages.
    pub(super) name: &'static str,
    kind: Kind,
    keys: Keyring,
}

enum Kind {
    Memory(Arc<MemoryStore>),
    Sqlite(TempDir),
    Postgres { server: Arc<Postgres>, database: String },
}

impl Fixture {
    pub(super) fn memory() -> Self {
        Self { name: "memory", kind: Kind::Memory(Arc::default()), keys: Keyring::default() }
    }

    pub(super) fn sqlite(name: &'static str, keys: Keyring) -> Self {
        Self { name, kind: Kind::Sqlite(tempfile::tempdir().unwrap()), keys }
    }

    pub(super) fn postgres(name: &'static str, keys: Keyring) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let database = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let server = server();
        server.create_database(&database).unwrap();
        Self { name, kind: Kind::Postgres { server, database }, keys }
    }

    /// Every database, plain and sealed.
    pub(super) fn databases() -> Vec<Self> {
        vec![
            Self::sqlite("sqlite", Keyring::default()),
            Self::sqlite("sqlite, sealed", keyring(Some(1), &[])),
            Self::postgres("postgres", Keyring::default()),
            Self::postgres("postgres, sealed", keyring(Some(1), &[])),
        ]
    }

    /// Every implementation.
    pub(super) fn all() -> Vec<Self> {
        std::iter::once(Self::memory()).chain(Self::databases()).collect()
    }

    pub(super) async fn open(&self) -> Arc<dyn Store> {
        self.open_with(self.keys.clone()).await.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    pub(super) async fn open_with(&self, keys: Keyring) -> Result<Arc<dyn Store>, OpenError> {
        let url = match &self.kind {
            Kind::Memory(store) => return Ok(Arc::clone(store) as Arc<dyn Store>),
            Kind::Sqlite(_) => DatabaseUrl::Sqlite(self.file()),
            Kind::Postgres { server, database } => server.url(database).parse().unwrap(),
        };
        open(DatabaseSettings { url, max_connections: 8, keys }).await
    }

    fn file(&self) -> PathBuf {
        let Kind::Sqlite(folder) = &self.kind else { panic!("{} has no file", self.name) };
        folder.path().join("psicoia.db")
    }

    /// Runs SQL common to both databases; returns the first column of the first row as text.
    pub(super) fn sql(&self, sql: &str) -> String {
        match &self.kind {
            Kind::Memory(_) => panic!("no SQL in memory"),
            Kind::Postgres { server, database } => server.sql(database, sql).unwrap(),
            Kind::Sqlite(_) => {
                let db = rusqlite::Connection::open(self.file()).unwrap();
                let mut statement = db.prepare(sql).unwrap();
                let mut rows = statement.query([]).unwrap();
                rows.next().unwrap().map(|row| row.get::<_, i64>(0).unwrap().to_string()).unwrap_or_default()
            }
        }
    }

    /// Returns whether the stored data contains `bytes`.
    pub(super) fn holds(&self, bytes: &[u8]) -> bool {
        match &self.kind {
            Kind::Memory(_) => false,
            Kind::Sqlite(folder) => fs::read_dir(folder.path())
                .unwrap()
                .any(|file| fs::read(file.unwrap().path()).unwrap().windows(bytes.len()).any(|window| window == bytes)),
            Kind::Postgres { .. } => {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let rows = ["sessions", "entries", "summaries", "links", "keys"]
                    .map(|table| self.sql(&format!("SELECT * FROM {table}")));
                rows.iter().any(|rows| rows.contains(&hex) || rows.contains(&*String::from_utf8_lossy(bytes)))
            }
        }
    }
}
