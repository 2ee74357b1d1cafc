//! Fixture: one client, an in-process core and its providers, under a paused clock.

use std::time::Duration;

use e2e::in_process_stack::Core;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::clock::{self, FrozenClock};
use testkit::line_peer::LinePeer;
use testkit::llm::Outcome;
use tokio::io::DuplexStream;
use tokio::time::Instant;

use super::provider::{Provider, Script};
use crate::test_client::TestClient;

/// Longer than any answer, by the paused clock.
const LIMIT: Duration = Duration::from_secs(60);

/// Outcome of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AnswerOutcome {
    /// Complete answer of the model.
    Answer(String),
    /// Truncated answer of the model: `finish` is `error`.
    Broken(String),
    /// Answer of the built-in companion.
    Companion,
}

pub(super) struct Fixture {
    pub(super) person: TestClient<LinePeer<DuplexStream>>,
    core: Core,
    pub(super) providers: Vec<Provider>,
    messages: u64,
    _folder: TempDir,
    _frozen: FrozenClock,
}

impl Fixture {
    /// Opens a session on a core with these settings, and providers in this order.
    pub(super) async fn open(scripts: Vec<Script>, settings: &[(&str, &str)]) -> Self {
        let frozen = FrozenClock::freeze();
        let mut providers = Vec::new();
        for script in scripts {
            providers.push(Provider::start(script).await);
        }
        let rows =
            (1..).zip(&providers).map(|(number, provider)| json!({"url": provider.url(), "model": number.to_string()}));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("providers.json");
        std::fs::write(&file, Value::from_iter(rows).to_string()).unwrap();
        let file = [("LLM_PROVIDERS", file.to_str().unwrap())];
        let core = Core::start(settings.iter().copied().chain(file)).await;
        let mut person = TestClient::new(core.connect());
        person.hello().await;
        Self { person, core, providers, messages: 0, _folder: folder, _frozen: frozen }
    }

    /// Opens `count` further sessions on the same core.
    pub(super) async fn others(&self, count: usize) -> Vec<TestClient<LinePeer<DuplexStream>>> {
        let mut others = Vec::new();
        for _ in 0..count {
            let mut person = TestClient::new(self.core.connect());
            person.hello().await;
            others.push(person);
        }
        others
    }

    /// Sends a message; returns its outcome and the time from `accepted`.
    pub(super) async fn ask(&mut self) -> (AnswerOutcome, Duration) {
        self.messages += 1;
        let id = self.say().await;
        let accepted = Instant::now();
        let reading = self.rest(&id);
        let outcome = tokio::select! {
            biased;
            outcome = reading => outcome,
            () = pass(LIMIT) => panic!("no end of the answer"),
        };
        (outcome, accepted.elapsed())
    }

    /// Sends a message and waits for `accepted`.
    pub(super) async fn say(&mut self) -> String {
        let id = format!("m{}", self.messages);
        self.person.say(&id, "hola").await;
        assert_eq!(self.person.frame().await["type"], "accepted");
        id
    }

    /// Reads the deltas and `done` of message `id`, the newest.
    async fn rest(&mut self, id: &str) -> AnswerOutcome {
        let mut text = String::new();
        loop {
            let frame = self.person.frame().await;
            assert_eq!(frame["id"], id, "{frame}");
            match frame["type"].as_str() {
                Some("delta") => text.push_str(frame["text"].as_str().unwrap()),
                Some("done") => {
                    // The shown text equals the stored one.
                    assert_eq!(frame["chars"], text.chars().count(), "{frame}");
                    assert_eq!(frame["seq"], 2 * self.messages, "{frame}");
                    return outcome(text, &frame);
                }
                _ => panic!("out of place: {frame}"),
            }
        }
    }

    /// Sends a message; returns the text of each delta of the answer.
    pub(super) async fn ask_for_pieces(&mut self) -> Vec<String> {
        self.messages += 1;
        self.say().await;
        let reading = async {
            let mut pieces = Vec::new();
            loop {
                let frame = self.person.frame().await;
                match frame["text"].as_str() {
                    Some(text) => pieces.push(text.to_owned()),
                    None => break (pieces, frame),
                }
            }
        };
        let (pieces, done) = tokio::select! {
            biased;
            read = reading => read,
            () = pass(LIMIT) => panic!("no end of the answer"),
        };
        assert_eq!(done["chars"], pieces.last().map_or(0, |last| last.chars().count()), "{done}");
        pieces
    }

    /// Outcomes of all calls by provider.
    pub(super) async fn calls(&self) -> Vec<Vec<Outcome>> {
        let mut calls = Vec::new();
        for provider in &self.providers {
            calls.push(provider.calls().await);
        }
        calls
    }
}

/// Sends a message from all of `people` at once; returns the latency and source of each answer.
pub(super) async fn all_at_once(
    people: &mut [TestClient<LinePeer<DuplexStream>>],
    id: &str,
) -> Vec<(Duration, String)> {
    let begin = Instant::now();
    let asking = join_all(people.iter_mut().map(async |person| {
        let reply = person.ask(id, "hola").await;
        (begin.elapsed(), reply.done["source"].as_str().unwrap().to_owned())
    }));
    tokio::select! {
        biased;
        outcome = asking => outcome,
        () = pass(LIMIT) => panic!("no end of the answers"),
    }
}

/// Advances the clock in steps of one second at most, so that sockets are polled in between.
pub(super) async fn pass(mut time: Duration) {
    while !time.is_zero() {
        let now = time.min(Duration::from_secs(1));
        clock::advance(now).await;
        time -= now;
    }
}

fn outcome(text: String, done: &Value) -> AnswerOutcome {
    match (done["source"].as_str(), done["finish"].as_str()) {
        (Some("llm"), Some("stop")) => AnswerOutcome::Answer(text),
        (Some("llm"), Some("error")) => AnswerOutcome::Broken(text),
        (Some("companion"), Some("stop")) if !text.is_empty() => AnswerOutcome::Companion,
        _ => panic!("neither an answer nor its end: {done}"),
    }
}
