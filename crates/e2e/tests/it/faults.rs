//! A bad model costs nobody else: each fault of a provider ends in an answer or a clear end of it,
//! at a known time and after a known number of calls. All of it by a clock that stands still.

mod cancelled;
mod hanging;
mod one_provider;
mod provider;
mod refusals;
mod scene;
mod several_providers;

use std::ops::RangeInclusive;
use std::time::Duration;

use testkit::llm::{Answer, Outcome};

use provider::Script;
use scene::{Heard, Scene};

/// What holds unless a row says otherwise: no pauses, so that times are exact.
const SETTINGS: [(&str, &str); 9] = [
    ("LLM_MAX_RETRIES", "3"),
    ("LLM_BACKOFF_INITIAL", "0"),
    ("LLM_BACKOFF_MAX", "5"),
    ("LLM_FIRST_TOKEN_TIMEOUT_SECONDS", "2"),
    ("LLM_SILENCE_TIMEOUT_SECONDS", "1"),
    ("LLM_TIMEOUT_SECONDS", "4"),
    ("LLM_TOTAL_TIMEOUT_SECONDS", "6"),
    ("LLM_DEADLINE_SECONDS", "10"),
    ("RATE_MAX_MESSAGES", "1000"),
];

/// How much later than a row says something may be: the clock moves in steps of 5 ms (`testkit::clock`), a
/// pause of no time ends with one too, and what is on its way through the system's sockets may miss some.
const LATE: Duration = Duration::from_millis(50);

/// A fault, and what a person and the providers see of it.
struct Row {
    fault: String,
    settings: Vec<(&'static str, &'static str)>,
    providers: Vec<Script>,
    heard: Heard,
    /// From `accepted` to `done`.
    ms: RangeInclusive<u64>,
    calls: Calls,
}

/// How each call of each provider ended.
type Calls = &'static [&'static [Outcome]];

impl Row {
    fn new(fault: impl Into<String>, providers: Vec<Script>, heard: Heard, ms: u64, calls: Calls) -> Self {
        Self { fault: fault.into(), settings: SETTINGS.to_vec(), providers, heard, ms: ms..=ms, calls }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.settings.retain(|(set, _)| *set != name);
        self.settings.push((name, value));
        self
    }

    /// Where chance or calendar time is part of it.
    fn within(self, ms: RangeInclusive<u64>) -> Self {
        Self { ms, ..self }
    }
}

/// Settings with one try for each message.
fn one_try() -> Vec<(&'static str, &'static str)> {
    let others = SETTINGS.into_iter().filter(|(name, _)| *name != "LLM_MAX_RETRIES");
    others.chain([("LLM_MAX_RETRIES", "1")]).collect()
}

/// How many calls each provider got.
async fn counts(scene: &Scene) -> Vec<usize> {
    scene.calls().await.iter().map(Vec::len).collect()
}

async fn check(rows: impl IntoIterator<Item = Row>) {
    for Row { fault, settings, providers, heard, ms, calls } in rows {
        let mut scene = Scene::open(providers, &settings).await;
        let (got, took) = scene.ask().await;
        assert_eq!(got, heard, "{fault}");
        assert!(in_time(took, &ms), "{fault}: {took:?}, not {ms:?} ms");
        assert_eq!(scene.calls().await, calls, "{fault}");
    }
}

/// Never earlier than it should be, and hardly later.
fn in_time(took: Duration, ms: &RangeInclusive<u64>) -> bool {
    let (from, to) = (Duration::from_millis(*ms.start()), Duration::from_millis(*ms.end()));
    (from..=to + LATE).contains(&took)
}

fn answer(text: &str) -> Heard {
    Heard::Answer(text.to_owned())
}

fn broken(text: &str) -> Heard {
    Heard::Broken(text.to_owned())
}

fn good() -> Answer {
    Answer::text("ya estoy")
}

/// An answer that goes on after this.
fn begun() -> Answer {
    Answer::pieces(["hasta ", "acá"])
}
