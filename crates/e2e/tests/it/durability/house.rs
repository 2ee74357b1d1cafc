//! A folder and a model, and one core after another that lives there.

use std::path::{Path, PathBuf};
use std::process::Output;

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::line_peer::LinePeer;
use testkit::llm::{LlmStandin, Options};
use tokio::net::TcpStream;

use crate::person::Person;
use crate::program::{Kind, Program, Setting, run};

pub(crate) struct House {
    pub(crate) standin: LlmStandin,
    folder: TempDir,
}

impl House {
    pub(crate) async fn new() -> Self {
        let standin = LlmStandin::start(Options::default()).await.unwrap();
        Self { standin, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the core keeps its conversations.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder().join("data/psicoia.db")
    }

    pub(crate) fn open_database(&self) -> Connection {
        Connection::open(self.database()).unwrap()
    }

    /// The contents of every file of the database, by name.
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

    /// A core that serves.
    pub(crate) async fn core(&self, settings: &[Setting]) -> Program {
        Program::start(Kind::Core, self.folder(), &self.settings(settings)).await
    }

    /// A core that is to end by itself.
    pub(crate) async fn run(&self, settings: &[Setting], argument: Option<&str>) -> Output {
        run(Kind::Core, self.folder(), &self.settings(settings), argument).await
    }
}

/// Someone at `core`, new or come back; and what they were told.
pub(crate) async fn visit(core: &Program, resume: Option<&str>) -> (Person<LinePeer<TcpStream>>, Value) {
    let mut person = Person::new(LinePeer::connect(core.address()).await.unwrap());
    let mut hello = json!({"type": "hello", "v": 1});
    if let Some(token) = resume {
        hello["resume"] = token.into();
    }
    person.send(hello).await;
    let told = person.frame().await;
    (person, told)
}

/// The `seq` and text of everything in the session.
pub(crate) async fn entries(person: &mut Person<LinePeer<TcpStream>>) -> Vec<(u64, String)> {
    person.send(json!({"type": "request", "id": "all", "method": "export"})).await;
    let result = person.frame_of("response").await["result"].take();
    assert_eq!(result["more"], false);
    let entry = |entry: &Value| (entry["seq"].as_u64().unwrap(), entry["text"].as_str().unwrap().to_owned());
    result["entries"].as_array().unwrap().iter().map(entry).collect()
}

/// `texts` as the first entries of a session.
pub(crate) fn numbered(texts: &[&str]) -> Vec<(u64, String)> {
    (1..).zip(texts.iter().map(ToString::to_string)).collect()
}
