//! A model that is silent costs one person at a time their patience, and the others nothing.

use std::time::Duration;

use testkit::llm::{Answer, Hang, RetryAfter};

use super::provider::Script;
use super::scene::{Heard, Scene, all_at_once, pass};
use super::{LATE, SETTINGS, answer, counts, good, one_try};

/// Silent calls in a row after which a provider is left alone.
const SILENT_CALLS: usize = 4;
/// How long a call waits for the first word.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where calls go silent before the first word.
fn silences() -> [Answer; 2] {
    [Hang::Headers, Hang::Stream].map(|hang| Answer::default().hanging(hang))
}

/// How many waited, and how many of those who did not: nobody heard anything but the companion.
fn waited(heard: &[(Duration, String)]) -> (usize, usize) {
    assert!(heard.iter().all(|(_, source)| source == "companion"), "{heard:?}");
    let at_once = heard.iter().filter(|(took, _)| *took <= LATE).count();
    (heard.len() - at_once, at_once)
}

fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let others = SETTINGS.into_iter().filter(|(other, _)| *other != name);
    others.chain([(name, value)]).collect()
}

#[tokio::test(start_paused = true)]
async fn all_but_one_hear_the_companion_at_once() {
    for silence in silences() {
        for providers in 1..=2 {
            let mut scene = Scene::open(vec![Script::Always(silence.clone()); providers], &one_try()).await;
            for _ in 0..SILENT_CALLS {
                assert_eq!(scene.ask().await.0, Heard::Companion);
            }
            assert_eq!(counts(&scene).await, vec![SILENT_CALLS; providers]);
            let mut people = scene.others(20).await;
            for round in ["a", "b"] {
                assert_eq!(waited(&all_at_once(&mut people, round).await), (1, 19), "{silence:?}, {providers}");
            }
            assert_eq!(counts(&scene).await.iter().sum::<usize>(), SILENT_CALLS * providers + 2);
        }
    }
}

/// An error that comes late costs as much patience as silence.
#[tokio::test(start_paused = true)]
async fn late_errors_count_as_silence() {
    let late = Script::Always(Answer::status(500).paced(3_000, 0));
    let others = one_try().into_iter().filter(|(name, _)| *name != "LLM_FIRST_TOKEN_TIMEOUT_SECONDS");
    let settings: Vec<_> = others.chain([("LLM_FIRST_TOKEN_TIMEOUT_SECONDS", "3.5")]).collect();
    let mut scene = Scene::open(vec![late], &settings).await;
    for _ in 0..SILENT_CALLS {
        assert_eq!(scene.ask().await.0, Heard::Companion);
    }
    assert_eq!(waited(&all_at_once(&mut scene.others(20).await, "a").await), (1, 19));
}

/// Silence is counted as soon as it is over, whoever else still waits in it, or for a place.
#[tokio::test(start_paused = true)]
async fn those_in_the_queue_leave_it_when_the_breaker_opens() {
    let silence = Script::Always(Answer::default().hanging(Hang::Headers));
    let scene = Scene::open(vec![silence], &with("MAX_IN_FLIGHT", "4")).await;
    let mut people = scene.others(20).await;
    let heard = all_at_once(&mut people, "a").await;
    let in_time = heard.iter().filter(|(took, _)| *took <= PATIENCE + LATE).count();
    assert_eq!((waited(&heard), in_time), ((20, 0), 20), "{heard:?}");
    assert_eq!(counts(&scene).await, [SILENT_CALLS]);
}

/// Those who began later do not wait as long as those who found out.
#[tokio::test(start_paused = true)]
async fn those_who_wait_in_vain_are_not_left_to_it() {
    let scene = Scene::open(vec![Script::Always(Answer::default().hanging(Hang::Headers))], &SETTINGS).await;
    let (mut first, mut later) = (scene.others(SILENT_CALLS).await, scene.others(5).await);
    let (found_out, spared) = tokio::join!(all_at_once(&mut first, "a"), async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        all_at_once(&mut later, "a").await
    });
    assert!(found_out.iter().all(|(took, _)| *took <= PATIENCE + LATE), "{found_out:?}");
    assert!(spared.iter().all(|(took, _)| *took <= Duration::from_millis(500) + 2 * LATE), "{spared:?}");
}

/// A pause between two tries ends when the breaker opens.
#[tokio::test(start_paused = true)]
async fn those_between_two_tries_do_not_wait_to_its_end() {
    let later = Answer { retry_after: Some(RetryAfter::Seconds(4)), ..Answer::status(429).paced(500, 0) };
    let answers = [vec![later], vec![Answer::status(500).paced(1_000, 0); 9], vec![good()]].concat();
    let scene = Scene::open(vec![Script::Answers(answers)], &SETTINGS).await;
    let mut people = scene.others(10).await;
    let heard = all_at_once(&mut people, "a").await;
    assert!(heard.iter().all(|(took, _)| *took <= Duration::from_secs(1) + LATE), "{heard:?}");
    assert_eq!((waited(&heard), counts(&scene).await), ((10, 0), vec![10]));
}

/// Who has asked for a rest gets it, and is asked once when it is over.
#[tokio::test(start_paused = true)]
async fn a_rest_costs_nobody() {
    let later = Answer { retry_after: Some(RetryAfter::Seconds(20)), ..Answer::status(429) };
    let mut scene = Scene::open(vec![Script::Answers(vec![later.clone(), later, good()])], &SETTINGS).await;
    assert_eq!(scene.ask().await.0, Heard::Companion);
    let mut people = scene.others(20).await;
    assert_eq!(waited(&all_at_once(&mut people, "a").await), (0, 20));
    assert_eq!(counts(&scene).await, [1]);
    pass(Duration::from_secs(20)).await;
    assert_eq!(waited(&all_at_once(&mut people, "b").await), (0, 20));
    assert_eq!(counts(&scene).await, [2], "one finds out");
    pass(Duration::from_secs(20)).await;
    assert_eq!(scene.ask().await.0, answer("ya estoy"));
    assert_eq!(counts(&scene).await, [3]);
}
