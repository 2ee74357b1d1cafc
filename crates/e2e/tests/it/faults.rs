//! Provider faults: each ends in an answer or a clear end, after a known time and number of
//! calls, and affects no other user. Under a paused clock.

mod cancelled;
mod fault_fixture;
mod one_provider;
mod provider;
mod refusals;
mod several_providers;
mod silent_provider;

use std::ops::RangeInclusive;
use std::time::Duration;

use testkit::llm::{Answer, Outcome};

use fault_fixture::{AnswerOutcome, Fixture};
use provider::Script;

/// Default settings of a row: without backoff, so that times are exact.
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

/// Tolerance of times: the clock moves in steps of 5 ms (`testkit::clock`), a zero pause takes one step too, and
/// data in the system's sockets may miss some.
const LATE: Duration = Duration::from_millis(50);

/// Fault with its expected outcome, time and calls.
struct Row {
    fault: String,
    settings: Vec<(&'static str, &'static str)>,
    providers: Vec<Script>,
    outcome: AnswerOutcome,
    /// Time from `accepted` to `done`, in milliseconds.
    ms: RangeInclusive<u64>,
    calls: Calls,
}

/// Outcomes of calls by provider.
type Calls = &'static [&'static [Outcome]];

impl Row {
    fn new(fault: impl Into<String>, providers: Vec<Script>, outcome: AnswerOutcome, ms: u64, calls: Calls) -> Self {
        Self { fault: fault.into(), settings: SETTINGS.to_vec(), providers, outcome, ms: ms..=ms, calls }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.settings.retain(|(set, _)| *set != name);
        self.settings.push((name, value));
        self
    }

    /// Widens the expected time, for faults with jitter or calendar time.
    fn within(self, ms: RangeInclusive<u64>) -> Self {
        Self { ms, ..self }
    }
}

/// Settings with one attempt per message.
fn one_try() -> Vec<(&'static str, &'static str)> {
    let others = SETTINGS.into_iter().filter(|(name, _)| *name != "LLM_MAX_RETRIES");
    others.chain([("LLM_MAX_RETRIES", "1")]).collect()
}

/// Number of calls by provider.
async fn counts(fixture: &Fixture) -> Vec<usize> {
    fixture.calls().await.iter().map(Vec::len).collect()
}

async fn check(rows: impl IntoIterator<Item = Row>) {
    for Row { fault, settings, providers, outcome, ms, calls } in rows {
        let mut fixture = Fixture::open(providers, &settings).await;
        let (got, took) = fixture.ask().await;
        assert_eq!(got, outcome, "{fault}");
        assert!(in_time(took, &ms), "{fault}: {took:?}, not {ms:?} ms");
        assert_eq!(fixture.calls().await, calls, "{fault}");
    }
}

/// True if not earlier than expected, and later by at most [`LATE`].
fn in_time(took: Duration, ms: &RangeInclusive<u64>) -> bool {
    let (from, to) = (Duration::from_millis(*ms.start()), Duration::from_millis(*ms.end()));
    (from..=to + LATE).contains(&took)
}

fn answer(text: &str) -> AnswerOutcome {
    AnswerOutcome::Answer(text.to_owned())
}

fn broken(text: &str) -> AnswerOutcome {
    AnswerOutcome::Broken(text.to_owned())
}

fn good() -> Answer {
    Answer::text("ya estoy")
}

/// First deltas of a longer answer.
fn begun() -> Answer {
    Answer::pieces(["hasta ", "acá"])
}
