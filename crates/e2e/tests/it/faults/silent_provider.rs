//! A silent provider delays one caller at a time, and the others not at all.

use std::time::Duration;

use testkit::llm::{Answer, Hang, RetryAfter};

use super::fault_fixture::{AnswerOutcome, Fixture, all_at_once, pass};
use super::provider::Script;
use super::{LATE, SETTINGS, answer, counts, good, one_try};

/// Silent calls in a row that open the breaker.
const SILENT_CALLS: usize = 4;
/// Timeout for the first chunk.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Points before the first chunk at which a call may hang.
fn silences() -> [Answer; 2] {
    [Hang::Headers, Hang::Stream].map(|hang| Answer::default().hanging(hang))
}

/// Numbers of callers that waited and that did not; asserts that the companion answered all.
fn waited(outcomes: &[(Duration, String)]) -> (usize, usize) {
    assert!(outcomes.iter().all(|(_, source)| source == "companion"), "{outcomes:?}");
    let at_once = outcomes.iter().filter(|(took, _)| *took <= LATE).count();
    (outcomes.len() - at_once, at_once)
}

fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let others = SETTINGS.into_iter().filter(|(other, _)| *other != name);
    others.chain([(name, value)]).collect()
}

#[tokio::test(start_paused = true)]
async fn breaker_spares_all_but_one_caller() {
    for silence in silences() {
        for providers in 1..=2 {
            let mut fixture = Fixture::open(vec![Script::Always(silence.clone()); providers], &one_try()).await;
            for _ in 0..SILENT_CALLS {
                assert_eq!(fixture.ask().await.0, AnswerOutcome::Companion);
            }
            assert_eq!(counts(&fixture).await, vec![SILENT_CALLS; providers]);
            let mut people = fixture.others(20).await;
            for round in ["a", "b"] {
                assert_eq!(waited(&all_at_once(&mut people, round).await), (1, 19), "{silence:?}, {providers}");
            }
            assert_eq!(counts(&fixture).await.iter().sum::<usize>(), SILENT_CALLS * providers + 2);
        }
    }
}

/// A late error delays a caller as much as silence.
#[tokio::test(start_paused = true)]
async fn late_errors_count_as_timeouts() {
    let late = Script::Always(Answer::status(500).paced(3_000, 0));
    let others = one_try().into_iter().filter(|(name, _)| *name != "LLM_FIRST_TOKEN_TIMEOUT_SECONDS");
    let settings: Vec<_> = others.chain([("LLM_FIRST_TOKEN_TIMEOUT_SECONDS", "3.5")]).collect();
    let mut fixture = Fixture::open(vec![late], &settings).await;
    for _ in 0..SILENT_CALLS {
        assert_eq!(fixture.ask().await.0, AnswerOutcome::Companion);
    }
    assert_eq!(waited(&all_at_once(&mut fixture.others(20).await, "a").await), (1, 19));
}

/// Each timeout counts when it expires, while other callers still wait or queue.
#[tokio::test(start_paused = true)]
async fn open_breaker_empties_the_queue() {
    let silence = Script::Always(Answer::default().hanging(Hang::Headers));
    let fixture = Fixture::open(vec![silence], &with("MAX_IN_FLIGHT", "4")).await;
    let mut people = fixture.others(20).await;
    let outcomes = all_at_once(&mut people, "a").await;
    let in_time = outcomes.iter().filter(|(took, _)| *took <= TIMEOUT + LATE).count();
    assert_eq!((waited(&outcomes), in_time), ((20, 0), 20), "{outcomes:?}");
    assert_eq!(counts(&fixture).await, [SILENT_CALLS]);
}

/// Callers that started later wait less than those whose timeouts opened the breaker.
#[tokio::test(start_paused = true)]
async fn open_breaker_ends_running_calls() {
    let fixture = Fixture::open(vec![Script::Always(Answer::default().hanging(Hang::Headers))], &SETTINGS).await;
    let (mut first, mut later) = (fixture.others(SILENT_CALLS).await, fixture.others(5).await);
    let (found_out, spared) = tokio::join!(all_at_once(&mut first, "a"), async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        all_at_once(&mut later, "a").await
    });
    assert!(found_out.iter().all(|(took, _)| *took <= TIMEOUT + LATE), "{found_out:?}");
    assert!(spared.iter().all(|(took, _)| *took <= Duration::from_millis(500) + 2 * LATE), "{spared:?}");
}

/// The pause between two attempts ends when the breaker opens.
#[tokio::test(start_paused = true)]
async fn open_breaker_ends_retry_pauses() {
    let later = Answer { retry_after: Some(RetryAfter::Seconds(4)), ..Answer::status(429).paced(500, 0) };
    let answers = [vec![later], vec![Answer::status(500).paced(1_000, 0); 9], vec![good()]].concat();
    let fixture = Fixture::open(vec![Script::Answers(answers)], &SETTINGS).await;
    let mut people = fixture.others(10).await;
    let outcomes = all_at_once(&mut people, "a").await;
    assert!(outcomes.iter().all(|(took, _)| *took <= Duration::from_secs(1) + LATE), "{outcomes:?}");
    assert_eq!((waited(&outcomes), counts(&fixture).await), ((10, 0), vec![10]));
}

/// A provider with `Retry-After` gets one probe after the delay.
#[tokio::test(start_paused = true)]
async fn honours_retry_after_without_delaying_callers() {
    let later = Answer { retry_after: Some(RetryAfter::Seconds(20)), ..Answer::status(429) };
    let mut fixture = Fixture::open(vec![Script::Answers(vec![later.clone(), later, good()])], &SETTINGS).await;
    assert_eq!(fixture.ask().await.0, AnswerOutcome::Companion);
    let mut people = fixture.others(20).await;
    assert_eq!(waited(&all_at_once(&mut people, "a").await), (0, 20));
    assert_eq!(counts(&fixture).await, [1]);
    pass(Duration::from_secs(20)).await;
    assert_eq!(waited(&all_at_once(&mut people, "b").await), (0, 20));
    assert_eq!(counts(&fixture).await, [2], "one finds out");
    pass(Duration::from_secs(20)).await;
    assert_eq!(fixture.ask().await.0, answer("ya estoy"));
    assert_eq!(counts(&fixture).await, [3]);
}
