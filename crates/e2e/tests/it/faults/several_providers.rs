//! Who is asked next when a provider fails, and who is left alone.

use std::time::Duration;

use testkit::llm::Answer;
use testkit::llm::Hang;
use testkit::llm::Outcome::{Cancelled, Finished};
use testkit::llm::RetryAfter;

use super::provider::Script;
use super::scene::{Heard, Scene, pass};
use super::{Calls, Row, SETTINGS, answer, begun, broken, check, counts, good, in_time, one_try};

/// Providers that always do the same.
fn row<const N: usize>(fault: impl Into<String>, scripts: [Script; N], heard: Heard, ms: u64, calls: Calls) -> Row {
    Row::new(fault, scripts.into(), heard, ms, calls)
}

fn status(status: u16) -> Script {
    Script::Always(Answer::status(status))
}

#[tokio::test(start_paused = true)]
async fn the_next_one_answers() {
    const NEXT: Calls = &[&[Finished], &[Finished]];
    let works = || Script::Always(good());
    let does = |answer| Script::Always(answer);
    let heard = || answer("ya estoy");
    let one = |fault, script, calls| row(fault, [script, works()], heard(), 0, calls);
    let mute = Answer::default().hanging(Hang::Headers);
    check([
        one("nothing", works(), &[&[Finished], &[]]),
        one("500", status(500), NEXT),
        one("429", status(429), NEXT),
        one("a refused key", status(401), NEXT),
        one("cut before a word", does(Answer { cut: true, ..Answer::default() }), NEXT),
        one("garbage", does(Answer { garbage: true, ..Answer::default() }), NEXT),
        one("no connection", Script::Gone, &[&[], &[Finished]]),
        row("silence", [does(mute), works()], heard(), 2_000, &[&[Cancelled], &[Finished]]),
        // What a person has begun to read is nobody else's to end.
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
async fn all_fail() {
    const ONCE: &[testkit::llm::Outcome] = &[Finished];
    const THRICE: &[testkit::llm::Outcome] = &[Finished; 3];
    check([
        row("both for now", [status(500), status(503)], Heard::Companion, 0, &[THRICE, THRICE]),
        row("one for good", [status(401), status(503)], Heard::Companion, 0, &[ONCE, THRICE]),
        row("both for good", [status(401), status(404)], Heard::Companion, 0, &[ONCE, ONCE]),
        row("both gone", [Script::Gone, Script::Gone], Heard::Companion, 0, &[&[], &[]]),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn who_is_left_alone() {
    for (fault, scripts, heard, calls) in [
        ("one fails", [status(500), Script::Always(good())], answer("ya estoy"), [10, 15]),
        // Somebody waits for an answer, and nobody else could give it.
        ("both fail", [status(500), status(503)], Heard::Companion, [15, 10]),
        // What was asked wrongly says nothing about who was asked.
        ("what was asked", [status(400), Script::Always(good())], answer("ya estoy"), [15, 15]),
    ] {
        let mut scene = Scene::open(scripts.into(), &one_try()).await;
        for message in 1..=15 {
            let (got, took) = scene.ask().await;
            assert_eq!(got, heard, "{fault}, message {message}");
            assert!(in_time(took, &(0..=0)), "{fault}, message {message}: {took:?}");
        }
        assert_eq!(counts(&scene).await, calls, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_back_is_found_out() {
    let ten_failures = vec![Answer::status(500); 10].into_iter();
    let comes_back = Script::Answers(ten_failures.chain([good()]).collect());
    let mut scene = Scene::open(vec![comes_back, Script::Always(Answer::text("la otra"))], &one_try()).await;
    for _ in 0..12 {
        assert_eq!(scene.ask().await.0, answer("la otra"));
    }
    assert_eq!(counts(&scene).await, [10, 12]);
    pass(Duration::from_millis(4_800)).await;
    assert_eq!(scene.ask().await.0, answer("la otra"), "left alone for less than its time");
    pass(Duration::from_millis(300)).await;
    assert_eq!(scene.ask().await.0, answer("ya estoy"));
    assert_eq!(counts(&scene).await, [11, 13]);
}

#[tokio::test(start_paused = true)]
async fn where_all_are_left_alone_one_is_asked_all_the_same() {
    let ten_failures = || vec![Answer::status(500); 10].into_iter();
    let comes_back = Script::Answers(ten_failures().chain([good()]).collect());
    let mut scene = Scene::open(vec![comes_back, status(500)], &one_try()).await;
    for _ in 0..10 {
        assert_eq!(scene.ask().await.0, Heard::Companion);
    }
    let (heard, took) = scene.ask().await;
    assert_eq!(heard, answer("ya estoy"));
    assert!(in_time(took, &(0..=0)), "{took:?}");
    assert_eq!(counts(&scene).await, [11, 10]);
}

/// One that wants to be asked later is not asked by this message again, nor by the next ones.
#[tokio::test(start_paused = true)]
async fn who_wants_to_be_asked_later() {
    let later = Answer { retry_after: Some(RetryAfter::Seconds(30)), ..Answer::status(429) };
    let first = Script::Answers(vec![later, Answer::text("de vuelta")]);
    let second = Script::Answers(vec![Answer::status(500), good(), good()]);
    let mut scene = Scene::open(vec![first, second], &SETTINGS).await;
    for calls in [[1, 2], [1, 3]] {
        let (heard, took) = scene.ask().await;
        assert_eq!(heard, answer("ya estoy"));
        assert!(in_time(took, &(0..=0)), "{took:?}");
        assert_eq!(counts(&scene).await, calls);
    }
    pass(Duration::from_secs(30)).await;
    assert_eq!(scene.ask().await.0, answer("de vuelta"));
}

/// Where the first has used up the time, the second had no fair share of it.
#[tokio::test(start_paused = true)]
async fn a_deadline_is_not_held_against_the_last() {
    let mute = Script::Always(Answer::default().hanging(Hang::Headers));
    let slow = Script::Always(good().paced(1_000, 0));
    let others = one_try().into_iter().filter(|(name, _)| *name != "LLM_DEADLINE_SECONDS");
    let settings: Vec<_> = others.chain([("LLM_DEADLINE_SECONDS", "2.5")]).collect();
    let mut scene = Scene::open(vec![mute, slow], &settings).await;
    // Until the first is left alone.
    for _ in 0..4 {
        assert_eq!(scene.ask().await.0, Heard::Companion);
    }
    for _ in 0..2 {
        let (heard, took) = scene.ask().await;
        assert_eq!(heard, answer("ya estoy"));
        assert!(in_time(took, &(1_000..=1_000)), "{took:?}");
    }
}
