//! Property test: one session over two connections that break at any byte, with repeated
//! resends. Each message is processed once, and both connections receive the same entries.

mod breaking_pipe;
mod observer;
mod step;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use core_server::{Args, Config, Server, server};
use proptest::prelude::*;
use serde_json::{Value, json};
use store::{MemoryStore, Store};
use testkit::clock::{FrozenClock, advance, settle};
use testkit::llm::{Fallback, LlmStandin, Options};
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use breaking_pipe::BreakingPipe;
use observer::Delivered;
use step::{Step, answer_to, scripted_answer, steps, text_of};

/// Capacity of a connection's pipe: small, so that writes block.
const PIPE_BYTES: usize = 1_024;
/// Longer than all answers together.
const ALL_ANSWERED: Duration = Duration::from_millis(500);
/// Bound on waits of [`ALL_ANSWERED`]: the disk does not follow the paused clock.
const MAX_POLLS: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    InMemory,
    InSqlite,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn operations_are_idempotent_and_consistent_in_memory(steps in steps()) {
        check(&steps, Kept::InMemory);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn operations_are_idempotent_and_consistent_on_disk(steps in steps()) {
        check(&steps, Kept::InSqlite);
    }
}

fn check(steps: &[Step], kept: Kept) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let _frozen = FrozenClock::freeze();
        let mut talk = SessionUnderTest::begin(kept).await;
        for step in steps {
            talk.take(step).await;
        }
        talk.end().await;
    });
}

struct SessionUnderTest {
    standin: LlmStandin,
    server: Arc<Server>,
    tasks: TaskTracker,
    stop: CancellationToken,
    token: String,
    lines: [Option<BreakingPipe>; 2],
    delivered: Delivered,
    /// Texts of the messages sent completely.
    said: HashSet<(String, String)>,
    _folder: tempfile::TempDir,
}

impl Drop for SessionUnderTest {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl SessionUnderTest {
    async fn begin(kept: Kept) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let standin = LlmStandin::start(Options { fallback: Fallback::Reply(scripted_answer), ..Options::default() })
            .await
            .unwrap();
        let flags = [
            "core-server".to_owned(),
            "--app-port=0".to_owned(),
            format!("--llm-url={}", standin.url()),
            format!("--database-url=sqlite://{}", folder.path().join("it.db").display()),
            // Limits are lifted, so that the outcome does not depend on timing.
            "--per-user-max=100".to_owned(),
            "--rate-max-messages=1000".to_owned(),
        ];
        let config = Config::new(&Args::parse_from(flags)).unwrap();
        let store: Arc<dyn Store> = match kept {
            Kept::InMemory => Arc::new(MemoryStore::default()),
            Kept::InSqlite => store::open(config.database.clone()).await.unwrap(),
        };
        let listener = server::bind(&config).await.unwrap();
        let server = Arc::new(Server::new(config, store).unwrap());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        // The listener is unused: connections are in-memory pipes.
        tasks.spawn(Arc::clone(&server).serve(listener, stop.clone()));
        let mut talk = Self {
            standin,
            server,
            tasks,
            stop,
            token: String::new(),
            lines: [None, None],
            delivered: Delivered::default(),
            said: HashSet::new(),
            _folder: folder,
        };
        let mut first = BreakingPipe::open(talk.pipe(), &json!({"type": "hello", "v": 1}), 0).await;
        let welcome = talk.until(&mut first, |frame| frame["type"] == "welcome").await;
        talk.token = welcome["resume"].as_str().unwrap().to_owned();
        talk.lines[0] = Some(first);
        talk
    }

    fn pipe(&self) -> DuplexStream {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let server = Arc::clone(&self.server);
        self.tasks.spawn(async move { server.handle(theirs, IpAddr::V4(Ipv4Addr::LOCALHOST)).await });
        ours
    }

    async fn resume(&self, since: u64) -> BreakingPipe {
        let hello = json!({"type": "hello", "v": 1, "resume": self.token, "since": since});
        BreakingPipe::open(self.pipe(), &hello, since).await
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::Wait(ms) => advance(Duration::from_millis(ms)).await,
            Step::Resume { line, since } => self.lines[line] = Some(self.resume(since).await),
            Step::CutAfter { line, bytes } => {
                if let Some(line) = &mut self.lines[line] {
                    line.cut_after(bytes);
                }
            }
            Step::Send { line, id, other, bytes } => {
                if self.lines[line].is_none() {
                    self.lines[line] = Some(self.resume(0).await);
                }
                self.say(line, (format!("m{id}"), text_of(id, other)), bytes).await;
            }
        }
        settle().await;
        self.listen();
    }

    async fn say(&mut self, line: usize, (id, text): (String, String), bytes: Option<usize>) {
        let frame = json!({"type": "message", "id": id, "text": text});
        let Some(open) = &mut self.lines[line] else { return };
        if open.say(&frame, bytes).await {
            self.said.insert((id, text));
        }
        if bytes.is_some() {
            self.lines[line] = None;
        }
    }

    /// Reads the available frames of both connections.
    fn listen(&mut self) {
        for line in &mut self.lines {
            if let Some(open) = line {
                open.listen(&mut self.delivered);
                if open.is_cut() {
                    *line = None;
                }
            }
        }
    }

    /// Asserts that every accepted message is answered and stored once, as delivered.
    async fn end(&mut self) {
        self.lines = [None, None];
        settle().await;
        let mut last = self.resume(0).await;
        let entries = self.until_all_answered(&mut last).await;
        let mut users = HashMap::new();
        for (seq, entry) in (1..).zip(&entries) {
            assert_eq!(entry["seq"], seq, "a gap in {entries:?}");
            self.delivered.agrees(entry);
            let (id, text) = (entry["id"].as_str().unwrap(), entry["text"].as_str().unwrap());
            if entry["role"] == "user" {
                assert!(users.insert(id, text).is_none(), "{id} is there twice");
                assert!(self.said.contains(&(id.to_owned(), text.to_owned())), "half of {entry} was sent");
            } else {
                assert_eq!(text, answer_to(users[id]), "{id}");
            }
        }
        assert_eq!(entries.len(), 2 * users.len(), "{entries:?}");
        self.delivered.is_kept(&entries);
        let mut replay = self.resume(0).await;
        let seq = entries.len();
        settle().await;
        while replay.turns() < seq {
            self.until(&mut replay, |frame| frame["type"] == "turn").await;
        }
    }

    /// Waits until each message is answered by one call. A call may be counted before the disk, which does not
    /// follow the clock, has its message.
    async fn until_all_answered(&mut self, line: &mut BreakingPipe) -> Vec<Value> {
        for _ in 0..MAX_POLLS {
            advance(ALL_ANSWERED).await;
            line.say(&json!({"type": "request", "id": "all", "method": "export", "timeout_ms": 30_000}), None).await;
            let mut result = self.until(line, |frame| frame["type"] == "response").await["result"].take();
            assert_eq!(result["more"], false);
            let Value::Array(entries) = result["entries"].take() else { panic!("{result}") };
            let of = |role: &str| entries.iter().filter(|entry| entry["role"] == role).count();
            if (of("user"), of("user") as u64) == (of("assistant"), self.standin.total()) {
                return entries;
            }
        }
        panic!("an accepted message has no answer, or not one call of the model");
    }

    /// Waits for an expected frame without advancing the clock.
    async fn until(&mut self, line: &mut BreakingPipe, wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..MAX_POLLS {
            let frames = line.listen(&mut self.delivered);
            if let Some(frame) = frames.into_iter().find(&wanted) {
                return frame;
            }
            settle().await;
        }
        panic!("it does not come");
    }
}
