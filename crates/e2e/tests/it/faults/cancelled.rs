//! Nobody pays for an answer that nobody will read: the call ends at the provider.

use std::time::Duration;

use serde_json::json;
use testkit::llm::{Answer, Hang, Outcome};
use testkit::peer::Peer as _;

use super::provider::{Provider, Script};
use super::scene::{Scene, pass};
use super::{LATE, SETTINGS, begun};

/// Calls may take as long as they like here.
fn patient() -> Vec<(&'static str, &'static str)> {
    let limits = [
        "LLM_FIRST_TOKEN_TIMEOUT_SECONDS",
        "LLM_SILENCE_TIMEOUT_SECONDS",
        "LLM_TIMEOUT_SECONDS",
        "LLM_TOTAL_TIMEOUT_SECONDS",
    ];
    let others = SETTINGS.into_iter().filter(|(name, _)| !limits.contains(name) && *name != "LLM_DEADLINE_SECONDS");
    let limits = limits.into_iter().chain(["LLM_DEADLINE_SECONDS"]).map(|name| (name, "3600"));
    others.chain(limits).chain([("ORPHAN_SECONDS", "5"), ("IDLE_SECONDS", "3600")]).collect()
}

/// Where calls go silent: before the response, before the first word, in mid-answer.
fn silences() -> [Answer; 3] {
    [Answer::default().hanging(Hang::Headers), Answer::default().hanging(Hang::Stream), begun().hanging(Hang::Stream)]
}

/// The only call was given up by the core about this long after it came.
async fn assert_cancelled(scene: &Scene, ran: Duration) {
    let Some(Provider::Standin(standin)) = scene.providers.first() else { panic!("no stand-in") };
    let calls = standin.wait_for(|calls| calls.iter().all(|call| call.outcome != Outcome::Running)).await.unwrap();
    assert_eq!((calls.len(), calls[0].outcome), (1, Outcome::Cancelled));
    let took = calls[0].ended.unwrap() - calls[0].arrived;
    assert!((ran - LATE..=ran + LATE).contains(&took), "{took:?}, not {ran:?}");
}

#[tokio::test(start_paused = true)]
async fn by_stop() {
    for silence in silences() {
        let mut scene = Scene::open(vec![Script::Answers(vec![silence.clone()])], &patient()).await;
        let id = scene.say().await;
        pass(Duration::from_secs(7)).await;
        scene.person.send(json!({"type": "stop", "id": id})).await;
        let done = scene.person.frame_of("done").await;
        assert_eq!(
            (&done["finish"], &done["chars"]),
            (&json!("stopped"), &json!(silence.pieces.concat().chars().count()))
        );
        assert_cancelled(&scene, Duration::from_secs(7)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn by_nobody_who_listens() {
    for silence in silences() {
        let mut scene = Scene::open(vec![Script::Answers(vec![silence.clone()])], &patient()).await;
        scene.say().await;
        pass(Duration::from_secs(7)).await;
        scene.person.peer.cut();
        pass(Duration::from_secs(5)).await;
        pass(LATE).await;
        assert_cancelled(&scene, Duration::from_secs(12)).await;
    }
}
