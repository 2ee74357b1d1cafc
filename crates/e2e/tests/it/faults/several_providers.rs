//! Fallback between providers and their circuit breakers.

use std::time::Duration;

use testkit::llm::Answer;
use testkit::llm::Hang;
use testkit::llm::Outcome::{Cancelled, Finished};
use testkit::llm::RetryAfter;

use super::fault_fixture::{AnswerOutcome, Fixture, pass};
use super::provider::Script;
use super::{Calls, Row, SETTINGS, answer, begun, broken, check, counts, good, in_time, one_try};

/// Row with providers of constant behaviour.
fn row<const N: usize>(
    fault: impl Into<String>,
    scripts: [Script; N],
    outcome: AnswerOutcome,
    ms: u64,
    calls: Calls,
) -> Row {
    Row::new(fault, scripts.into(), outcome, ms, calls)
}

fn status(status: u16) -> Script {
    Script::Always(Answer::status(status))
}

#[tokio::test(start_paused = true)]
async fn falls_back_to_the_next_provider() {
    const NEXT: Calls = &[&[Finished], &[Finished]];
    let works = || Script::Always(good());
    let does = |answer| Script::Always(answer);
    let outcome = || answer("ya estoy");
    let one = |fault, script, calls| row(fault, [script, works()], outcome(), 0, calls);
    let mute = Answer::default().hanging(Hang::Headers);
    check([
        one("nothing", works(), &[&[Finished], &[]]),
        one("500", status(500), NEXT),
        one("429", status(429), NEXT),
        one("a refused key", status(401), NEXT),
        one("cut before a word", does(Answer { cut: true, ..Answer::default() }), NEXT),
        one("garbage", does(Answer { garbage: true, ..Answer::default() }), NEXT),
        one("no connection", Script::Gone, &[&[], &[Finished]]),
        row("silence", [does(mute), works()], outcome(), 2_000, &[&[Cancelled], &[Finished]]),
        // A partial answer that was shown is not continued by another provider.
        row(
            "a cut answer",
            [does(Answer { cut: true, ..begun() }), works()],
            broken("hasta acá"),
            0,
            &[&[Finished], &[]],
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn companion_answers_when_all_providers_fail() {
    const ONCE: &[testkit::llm::Outcome] = &[Finished];
    const THRICE: &[testkit::llm::Outcome] = &[Finished; 3];
    check([
        row("both for now", [status(500), status(503)], AnswerOutcome::Companion, 0, &[THRICE, THRICE]),
        row("one for good", [status(401), status(503)], AnswerOutcome::Companion, 0, &[ONCE, THRICE]),
        row("both for good", [status(401), status(404)], AnswerOutcome::Companion, 0, &[ONCE, ONCE]),
        row("both gone", [Script::Gone, Script::Gone], AnswerOutcome::Companion, 0, &[&[], &[]]),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn opens_breaker_after_failures() {
    for (fault, scripts, outcome, calls) in [
        ("one fails", [status(500), Script::Always(good())], answer("ya estoy"), [10, 15]),
        // The caller waits, and no other provider is available.
        ("both fail", [status(500), status(503)], AnswerOutcome::Companion, [15, 10]),
        // An invalid request does not count against the provider.
        ("what was asked", [status(400), Script::Always(good())], answer("ya estoy"), [15, 15]),
    ] {
        let mut fixture = Fixture::open(scripts.into(), &one_try()).await;
        for message in 1..=15 {
            let (got, took) = fixture.ask().await;
            assert_eq!(got, outcome, "{fault}, message {message}");
            assert!(in_time(took, &(0..=0)), "{fault}, message {message}: {took:?}");
        }
        assert_eq!(counts(&fixture).await, calls, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn closes_breaker_after_a_successful_probe() {
    let ten_failures = vec![Answer::status(500); 10].into_iter();
    let comes_back = Script::Answers(ten_failures.chain([good()]).collect());
    let mut fixture = Fixture::open(vec![comes_back, Script::Always(Answer::text("la otra"))], &one_try()).await;
    for _ in 0..12 {
        assert_eq!(fixture.ask().await.0, answer("la otra"));
    }
    assert_eq!(counts(&fixture).await, [10, 12]);
    pass(Duration::from_millis(4_800)).await;
    assert_eq!(fixture.ask().await.0, answer("la otra"), "left alone for less than its time");
    pass(Duration::from_millis(300)).await;
    assert_eq!(fixture.ask().await.0, answer("ya estoy"));
    assert_eq!(counts(&fixture).await, [11, 13]);
}

#[tokio::test(start_paused = true)]
async fn calls_one_provider_when_all_breakers_are_open() {
    let ten_failures = || vec![Answer::status(500); 10].into_iter();
    let comes_back = Script::Answers(ten_failures().chain([good()]).collect());
    let mut fixture = Fixture::open(vec![comes_back, status(500)], &one_try()).await;
    for _ in 0..10 {
        assert_eq!(fixture.ask().await.0, AnswerOutcome::Companion);
    }
    let (outcome, took) = fixture.ask().await;
    assert_eq!(outcome, answer("ya estoy"));
    assert!(in_time(took, &(0..=0)), "{took:?}");
    assert_eq!(counts(&fixture).await, [11, 10]);
}

/// A provider with `Retry-After` is skipped by this message and the next ones.
#[tokio::test(start_paused = true)]
async fn skips_provider_until_retry_after() {
    let later = Answer { retry_after: Some(RetryAfter::Seconds(30)), ..Answer::status(429) };
    let first = Script::Answers(vec![later, Answer::text("de vuelta")]);
    let second = Script::Answers(vec![Answer::status(500), good(), good()]);
    let mut fixture = Fixture::open(vec![first, second], &SETTINGS).await;
    for calls in [[1, 2], [1, 3]] {
        let (outcome, took) = fixture.ask().await;
        assert_eq!(outcome, answer("ya estoy"));
        assert!(in_time(took, &(0..=0)), "{took:?}");
        assert_eq!(counts(&fixture).await, calls);
    }
    pass(Duration::from_secs(30)).await;
    assert_eq!(fixture.ask().await.0, answer("de vuelta"));
}

/// A deadline used up by the first provider does not count against the second.
#[tokio::test(start_paused = true)]
async fn deadline_does_not_count_against_the_last_provider() {
    let mute = Script::Always(Answer::default().hanging(Hang::Headers));
    let slow = Script::Always(good().paced(1_000, 0));
    let others = one_try().into_iter().filter(|(name, _)| *name != "LLM_DEADLINE_SECONDS");
    let settings: Vec<_> = others.chain([("LLM_DEADLINE_SECONDS", "2.5")]).collect();
    let mut fixture = Fixture::open(vec![mute, slow], &settings).await;
    // Until the first one's breaker opens.
    for _ in 0..4 {
        assert_eq!(fixture.ask().await.0, AnswerOutcome::Companion);
    }
    for _ in 0..2 {
        let (outcome, took) = fixture.ask().await;
        assert_eq!(outcome, answer("ya estoy"));
        assert!(in_time(took, &(1_000..=1_000)), "{took:?}");
    }
}
