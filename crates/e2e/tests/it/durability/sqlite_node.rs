//! Fixture: folder and model for consecutive cores on SQLite.

use std::path::{Path, PathBuf};
use std::process::Output;

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::line_peer::LinePeer;
use testkit::llm::{LlmStandin, Options};
use tokio::net::TcpStream;

use crate::program::{Kind, Program, Setting, run};
use crate::test_client::TestClient;

pub(crate) struct SqliteNode {
    pub(crate) standin: LlmStandin,
    folder: TempDir,
}

impl SqliteNode {
    pub(crate) async fn new() -> Self {
        let standin = LlmStandin::start(Options::default()).await.unwrap();
        Self { standin, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Path of the database.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder().join("data/psicoia.db")
    }

    pub(crate) fn open_database(&self) -> Connection {
        Connection::open(self.database()).unwrap()
    }

    /// Names and contents of all files of the database.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(self.folder().join("data")).unwrap().map(Result::unwrap);
        let read =
            |entry: std::fs::DirEntry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap());
        entries.map(read).collect()
    }

    pub(crate) fn settings(&self, more: &[Setting]) -> Vec<Setting> {
        let mut settings = vec![("APP_PORT", "0".to_owned()), ("LLM_URL", self.standin.url())];
        settings.extend_from_slice(more);
        settings
    }

    /// Starts a core.
    pub(crate) async fn core(&self, settings: &[Setting]) -> Program {
        Program::start(Kind::Core, self.folder(), &self.settings(settings)).await
    }

    /// Runs a core that exits by itself.
    pub(crate) async fn run(&self, settings: &[Setting], argument: Option<&str>) -> Output {
        run(Kind::Core, self.folder(), &self.settings(settings), argument).await
    }
}

/// Connects to `core` with a new or resumed session; returns the client and the reply to `hello`.
pub(crate) async fn connect_client(core: &Program, resume: Option<&str>) -> (TestClient<LinePeer<TcpStream>>, Value) {
    let mut person = TestClient::new(LinePeer::connect(core.address()).await.unwrap());
    let mut hello = json!({"type": "hello", "v": 1});
    if let Some(token) = resume {
        hello["resume"] = token.into();
    }
    person.send(hello).await;
    let received = person.frame().await;
    (person, received)
}

/// Exports the `seq` and text of all entries.
pub(crate) async fn entries(person: &mut TestClient<LinePeer<TcpStream>>) -> Vec<(u64, String)> {
    person.send(json!({"type": "request", "id": "all", "method": "export"})).await;
    let result = person.frame_of("response").await["result"].take();
    assert_eq!(result["more"], false);
    let entry = |entry: &Value| (entry["seq"].as_u64().unwrap(), entry["text"].as_str().unwrap().to_owned());
    result["entries"].as_array().unwrap().iter().map(entry).collect()
}

/// Numbers `texts` as the first entries of a session.
pub(crate) fn numbered(texts: &[&str]) -> Vec<(u64, String)> {
    (1..).zip(texts.iter().map(ToString::to_string)).collect()
}
