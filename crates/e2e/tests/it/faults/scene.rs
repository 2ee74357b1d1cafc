//! One person, a core in this process and its providers, under a clock that stands still.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::clock::{self, FrozenClock};
use testkit::line_peer::LinePeer;
use testkit::llm::Outcome;
use tokio::io::DuplexStream;
use tokio::time::Instant;

use super::provider::{Provider, Script};
use crate::person::Person;
use crate::world::Core;

/// Longer than any answer takes, by the clock that stands still.
const LIMIT: Duration = Duration::from_secs(60);

/// What a person got for their message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// The model's whole answer.
    Answer(String),
    /// An answer of the model's that broke off: `finish` is `error`.
    Broken(String),
    /// The built-in companion's answer.
    Companion,
}

pub(super) struct Scene {
    pub(super) person: Person<LinePeer<DuplexStream>>,
    core: Core,
    pub(super) providers: Vec<Provider>,
    messages: u64,
    _folder: TempDir,
    _frozen: FrozenClock,
}

impl Scene {
    /// Someone who has said `hello` to a core with these settings, and providers in this order.
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
        let mut person = Person::new(core.connect());
        person.hello().await;
        Self { person, core, providers, messages: 0, _folder: folder, _frozen: frozen }
    }

    /// So many others, who have said `hello` to the same core.
    pub(super) async fn others(&self, count: usize) -> Vec<Person<LinePeer<DuplexStream>>> {
        let mut others = Vec::new();
        for _ in 0..count {
            let mut person = Person::new(self.core.connect());
            person.hello().await;
            others.push(person);
        }
        others
    }

    /// Says something; what came of it, and how long that took from `accepted` on.
    pub(super) async fn ask(&mut self) -> (Heard, Duration) {
        self.messages += 1;
        let id = self.say().await;
        let accepted = Instant::now();
        let reading = self.rest(&id);
        let heard = tokio::select! {
            biased;
            heard = reading => heard,
            () = pass(LIMIT) => panic!("no end of the answer"),
        };
        (heard, accepted.elapsed())
    }

    /// Says something, and waits until it is accepted.
    pub(super) async fn say(&mut self) -> String {
        let id = format!("m{}", self.messages);
        self.person.say(&id, "hola").await;
        assert_eq!(self.person.frame().await["type"], "accepted");
        id
    }

    /// The deltas and the `done` of message `id`, which is the newest.
    async fn rest(&mut self, id: &str) -> Heard {
        let mut text = String::new();
        loop {
            let frame = self.person.frame().await;
            assert_eq!(frame["id"], id, "{frame}");
            match frame["type"].as_str() {
                Some("delta") => text.push_str(frame["text"].as_str().unwrap()),
                Some("done") => {
                    // What was shown is what is stored.
                    assert_eq!(frame["chars"], text.chars().count(), "{frame}");
                    assert_eq!(frame["seq"], 2 * self.messages, "{frame}");
                    return heard(text, &frame);
                }
                _ => panic!("out of place: {frame}"),
            }
        }
    }

    /// Says something; the text of each delta of the answer.
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

    /// How every call ended, provider by provider.
    pub(super) async fn calls(&self) -> Vec<Vec<Outcome>> {
        let mut calls = Vec::new();
        for provider in &self.providers {
            calls.push(provider.calls().await);
        }
        calls
    }
}

/// All of `people` say something at once: how long each waited for the end of the answer, and where it came from.
pub(super) async fn all_at_once(people: &mut [Person<LinePeer<DuplexStream>>], id: &str) -> Vec<(Duration, String)> {
    let begin = Instant::now();
    let asking = join_all(people.iter_mut().map(async |person| {
        let reply = person.ask(id, "hola").await;
        (begin.elapsed(), reply.done["source"].as_str().unwrap().to_owned())
    }));
    tokio::select! {
        biased;
        heard = asking => heard,
        () = pass(LIMIT) => panic!("no end of the answers"),
    }
}

/// Lets time pass; a second at most between two looks at everything that is not a timer.
pub(super) async fn pass(mut time: Duration) {
    while !time.is_zero() {
        let now = time.min(Duration::from_secs(1));
        clock::advance(now).await;
        time -= now;
    }
}

fn heard(text: String, done: &Value) -> Heard {
    match (done["source"].as_str(), done["finish"].as_str()) {
        (Some("llm"), Some("stop")) => Heard::Answer(text),
        (Some("llm"), Some("error")) => Heard::Broken(text),
        (Some("companion"), Some("stop")) if !text.is_empty() => Heard::Companion,
        _ => panic!("neither an answer nor its end: {done}"),
    }
}
