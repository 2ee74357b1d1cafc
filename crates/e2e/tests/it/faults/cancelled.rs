//! An answer without readers costs no tokens: the provider's call is cancelled.

use std::time::Duration;

use serde_json::json;
use testkit::llm::{Answer, Hang, Outcome};
use testkit::peer::Peer as _;

use super::fault_fixture::{Fixture, pass};
use super::provider::{Provider, Script};
use super::{LATE, SETTINGS, begun};

/// Settings without timeouts of calls.
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

/// Points at which calls hang: before the response, before the first chunk, mid-answer.
fn silences() -> [Answer; 3] {
    [Answer::default().hanging(Hang::Headers), Answer::default().hanging(Hang::Stream), begun().hanging(Hang::Stream)]
}

/// Asserts that the core cancelled the only call, which ran for about `ran`.
async fn assert_cancelled(fixture: &Fixture, ran: Duration) {
    let Some(Provider::Standin(standin)) = fixture.providers.first() else { panic!("no stand-in") };
    let calls = standin.wait_for(|calls| calls.iter().all(|call| call.outcome != Outcome::Running)).await.unwrap();
    assert_eq!((calls.len(), calls[0].outcome), (1, Outcome::Cancelled));
    let took = calls[0].ended.unwrap() - calls[0].arrived;
    assert!((ran - LATE..=ran + LATE).contains(&took), "{took:?}, not {ran:?}");
}

#[tokio::test(start_paused = true)]
async fn stop_cancels_the_provider_call() {
    for silence in silences() {
        let mut fixture = Fixture::open(vec![Script::Answers(vec![silence.clone()])], &patient()).await;
        let id = fixture.say().await;
        pass(Duration::from_secs(7)).await;
        fixture.person.send(json!({"type": "stop", "id": id})).await;
        let done = fixture.person.frame_of("done").await;
        assert_eq!(
            (&done["finish"], &done["chars"]),
            (&json!("stopped"), &json!(silence.pieces.concat().chars().count()))
        );
        assert_cancelled(&fixture, Duration::from_secs(7)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn abandoned_answer_cancels_the_provider_call() {
    for silence in silences() {
        let mut fixture = Fixture::open(vec![Script::Answers(vec![silence.clone()])], &patient()).await;
        fixture.say().await;
        pass(Duration::from_secs(7)).await;
        fixture.person.peer.cut();
        pass(Duration::from_secs(5)).await;
        pass(LATE).await;
        assert_cancelled(&fixture, Duration::from_secs(12)).await;
    }
}
