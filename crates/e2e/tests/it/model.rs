//! What happens when the model is slow, broken or gone, in a core that is a process.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use testkit::llm::{Answer, Hang, LlmStandin, Options, Outcome, RetryAfter};

use crate::town::Plan;

/// A core that tries again at once, three times in all.
fn impatient() -> Plan {
    Plan::default().core("LLM_MAX_RETRIES", 3).core("LLM_BACKOFF_INITIAL", 0)
}

#[tokio::test]
async fn too_many_requests_are_repeated_when_the_provider_says() {
    let town = impatient().start().await;
    town.standin.push(Answer { retry_after: Some(RetryAfter::Seconds(1)), ..Answer::status(429) });
    town.standin.push(Answer::text("ahora sí"));
    let mut person = town.at_core().await;
    person.hello().await;
    let reply = person.ask("a", "hola").await;
    assert_eq!((reply.text.as_str(), &reply.done["source"]), ("ahora sí", &json!("llm")));
    let requests = town.standin.requests();
    assert_eq!(requests.len(), 2);
    let pause = requests[1].arrived - requests[0].arrived;
    assert!(Duration::from_secs(1) <= pause, "only {pause:?}");
    assert_eq!(requests[0].request_id(), requests[1].request_id());
}

#[tokio::test]
async fn errors_that_may_pass_cost_every_try() {
    let town = impatient().start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    for (round, status) in (1..).zip([500, 503, 429]) {
        (0..3).for_each(|_| town.standin.push(Answer::status(status)));
        let reply = person.ask(&format!("m{round}"), "hola").await;
        assert_eq!(reply.done["source"], "companion", "{status}");
        assert_eq!(reply.done["finish"], "stop");
        assert!(!reply.text.is_empty());
        assert_eq!(town.standin.total(), 3 * round, "{status}");
    }
    // The model is back, and nothing stands between.
    assert_eq!(person.ask("last", "hola").await.text, "eco: hola");
}

#[tokio::test]
async fn errors_that_stay_cost_one_try() {
    let town = impatient().start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    for (round, status) in (1..).zip([400, 401, 403, 404]) {
        town.standin.push(Answer::status(status));
        let reply = person.ask(&format!("m{round}"), "hola").await;
        assert_eq!(reply.done["source"], "companion", "{status}");
        assert_eq!(town.standin.total(), round, "{status}");
    }
}

#[tokio::test]
async fn silence_is_given_up() {
    let town = impatient().core("LLM_MAX_RETRIES", 2).core("LLM_FIRST_TOKEN_TIMEOUT_SECONDS", "0.2").start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    for (id, hang) in [("a", Hang::Headers), ("b", Hang::Stream)] {
        (0..2).for_each(|_| town.standin.push(Answer::default().hanging(hang)));
        let reply = person.ask(id, "hola").await;
        assert_eq!((&reply.done["source"], &reply.done["finish"]), (&json!("companion"), &json!("stop")), "{hang:?}");
    }
    let all_gone = |request: &testkit::llm::Request| request.outcome == Outcome::Cancelled;
    let requests = town.standin.wait_for(|requests| requests.iter().all(all_gone)).await.unwrap();
    assert_eq!(requests.len(), 4);
}

#[tokio::test]
async fn silence_in_mid_answer_keeps_what_was_said() {
    let town = impatient().core("LLM_SILENCE_TIMEOUT_SECONDS", "0.2").start().await;
    town.standin.push(Answer::pieces(["hasta ", "acá"]).hanging(Hang::Stream));
    let mut person = town.at_core().await;
    person.hello().await;
    let reply = person.ask("a", "hola").await;
    assert_eq!((reply.text.as_str(), &reply.done["finish"]), ("hasta acá", &json!("error")));
    town.standin.wait_for(|requests| requests[0].outcome == Outcome::Cancelled).await.unwrap();
    assert_eq!(town.standin.total(), 1);
}

#[tokio::test]
async fn stop_reaches_the_provider() {
    let town = Plan::default().start().await;
    town.standin.push(Answer::chunks(500).paced(0, 20));
    let mut person = town.at_core().await;
    person.hello().await;
    person.say("a", "hola").await;
    let mut told = person.frame_of("delta").await["text"].as_str().unwrap().to_owned();
    person.send(json!({"type": "stop", "id": "a"})).await;
    let done = loop {
        let frame = person.frame().await;
        match frame["text"].as_str() {
            Some(text) => told.push_str(text),
            None => break frame,
        }
    };
    assert_eq!((&done["type"], &done["finish"], &done["seq"]), (&json!("done"), &json!("stopped"), &json!(2)));
    assert_eq!(done["chars"], told.chars().count());
    town.standin.wait_for(|requests| requests[0].outcome == Outcome::Cancelled).await.unwrap();
    person.send(json!({"type": "request", "id": "r", "method": "history"})).await;
    let history = person.frame_of("response").await;
    assert_eq!(history["result"]["entries"][1]["text"], told.as_str());
    // The place it had is free.
    assert_eq!(person.ask("b", "¿y ahora?").await.text, "eco: ¿y ahora?");
}

#[tokio::test]
async fn an_answer_that_breaks_off() {
    let town = impatient().start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    let pieces = Answer::pieces(["un ", "comienzo"]);
    let faults = [Answer { cut: true, ..pieces.clone() }, Answer { garbage: true, ..pieces }];
    for (round, fault) in (1..).zip(faults) {
        town.standin.push(fault);
        let reply = person.ask(&format!("m{round}"), "hola").await;
        assert_eq!((reply.text.as_str(), &reply.done["finish"]), ("un comienzo", &json!("error")));
        assert_eq!((&reply.done["source"], &reply.done["seq"]), (&json!("llm"), &json!(2 * round)));
        // What a person has begun to read is never asked for again.
        assert_eq!(town.standin.total(), round);
    }
}

#[tokio::test]
async fn no_provider_at_all() {
    let town = impatient().start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    town.standin.stop().await;
    assert_eq!(person.ask("a", "hola").await.done["source"], "companion");
}

#[tokio::test]
async fn no_more_calls_at_once_than_allowed() {
    let town = Plan::default().core("MAX_IN_FLIGHT", 3).start().await;
    (0..12).for_each(|_| town.standin.push(Answer::text("listo").paced(100, 0)));
    let waits = join_all((0..12).map(async |number| {
        let mut person = town.at_core().await;
        person.hello().await;
        let reply = person.ask("a", &format!("persona {number}")).await;
        assert_eq!(reply.text, "listo");
        reply.queued
    }));
    let waits = waits.await;
    assert_eq!((town.standin.total(), town.standin.most_in_flight(), town.standin.in_flight()), (12, 3, 0));
    assert!(6 <= waits.iter().filter(|times| 0 < **times).count(), "few were told that they wait: {waits:?}");
}

#[tokio::test]
async fn the_next_provider_answers_and_at_last_the_companion() {
    let first = LlmStandin::start(Options::default()).await.unwrap();
    let second = LlmStandin::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("providers.json");
    let provider = |standin: &LlmStandin, model: &str| json!({"url": standin.url(), "model": model, "key": "clave"});
    let providers = json!([provider(&first, "uno"), provider(&second, "dos")]);
    std::fs::write(&file, providers.to_string()).unwrap();
    let town = impatient().core("LLM_URL", "").core("LLM_PROVIDERS", file.display()).start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    assert_eq!(person.ask("a", "hola").await.done["model"], "uno");
    first.push(Answer::status(503));
    assert_eq!(person.ask("b", "hola").await.done["model"], "dos");
    first.stop().await;
    let reply = person.ask("c", "hola").await;
    assert_eq!((reply.text.as_str(), &reply.done["model"]), ("eco: hola", &json!("dos")));
    second.stop().await;
    let reply = person.ask("d", "hola").await;
    assert_eq!((&reply.done["source"], &reply.done["finish"]), (&json!("companion"), &json!("stop")));
    assert!(town.logs().iter().all(|line| !line.contains("clave")));
}
