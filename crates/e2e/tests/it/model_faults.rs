//! Slow, failing and unreachable models, with the core as a process. Exact times and numbers of
//! calls are in `faults`, under a paused clock.

use std::time::Duration;

use serde_json::json;
use testkit::llm::{Answer, Hang, LlmStandin, Options, Outcome, RetryAfter};

use crate::single_node::Plan;

/// Core with three attempts and no backoff.
fn impatient() -> Plan {
    Plan::default().core("LLM_MAX_RETRIES", 3).core("LLM_BACKOFF_INITIAL", 0)
}

#[tokio::test]
async fn retries_after_the_provider_delay() {
    let node = impatient().start().await;
    node.standin.push(Answer { retry_after: Some(RetryAfter::Seconds(1)), ..Answer::status(429) });
    node.standin.push(Answer::text("ahora sí"));
    let mut person = node.at_core().await;
    person.hello().await;
    let reply = person.ask("a", "hola").await;
    assert_eq!((reply.text.as_str(), &reply.done["source"]), ("ahora sí", &json!("llm")));
    let requests = node.standin.requests();
    assert_eq!(requests.len(), 2);
    let pause = requests[1].arrived - requests[0].arrived;
    assert!(Duration::from_secs(1) <= pause, "only {pause:?}");
    assert_eq!(requests[0].request_id(), requests[1].request_id());
}

#[tokio::test]
async fn times_out_on_silence() {
    let node = impatient().core("LLM_MAX_RETRIES", 2).core("LLM_FIRST_TOKEN_TIMEOUT_SECONDS", "0.2").start().await;
    (0..2).for_each(|_| node.standin.push(Answer::default().hanging(Hang::Headers)));
    let mut person = node.at_core().await;
    person.hello().await;
    let reply = person.ask("a", "hola").await;
    assert_eq!((&reply.done["source"], &reply.done["finish"]), (&json!("companion"), &json!("stop")));
    let all_gone = |request: &testkit::llm::Request| request.outcome == Outcome::Cancelled;
    let requests = node.standin.wait_for(|requests| requests.iter().all(all_gone)).await.unwrap();
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn stop_cancels_the_provider_call() {
    let node = Plan::default().start().await;
    node.standin.push(Answer::chunks(500).paced(0, 20));
    let mut person = node.at_core().await;
    person.hello().await;
    person.say("a", "hola").await;
    let mut reported = person.frame_of("delta").await["text"].as_str().unwrap().to_owned();
    person.send(json!({"type": "stop", "id": "a"})).await;
    let done = loop {
        let frame = person.frame().await;
        match frame["text"].as_str() {
            Some(text) => reported.push_str(text),
            None => break frame,
        }
    };
    assert_eq!((&done["type"], &done["finish"], &done["seq"]), (&json!("done"), &json!("stopped"), &json!(2)));
    assert_eq!(done["chars"], reported.chars().count());
    node.standin.wait_for(|requests| requests[0].outcome == Outcome::Cancelled).await.unwrap();
    person.send(json!({"type": "request", "id": "r", "method": "history"})).await;
    let history = person.frame_of("response").await;
    assert_eq!(history["result"]["entries"][1]["text"], reported.as_str());
    // Its slot is free.
    assert_eq!(person.ask("b", "¿y ahora?").await.text, "eco: ¿y ahora?");
}

#[tokio::test]
async fn abandoned_answer_cancels_the_provider_call() {
    let node = Plan::default().core("ORPHAN_SECONDS", 1).start().await;
    node.standin.push(Answer::pieces(["hasta ", "acá"]).hanging(Hang::Stream));
    let mut person = node.at_core().await;
    let welcome = person.hello().await;
    person.say("a", "hola").await;
    person.frame_of("delta").await;
    drop(person);
    node.standin.wait_for(|requests| requests[0].outcome == Outcome::Cancelled).await.unwrap();
    let mut person = node.at_core().await;
    // The partial answer is stored shortly after the call has ended.
    person.send(json!({"type": "hello", "v": 1, "resume": welcome["resume"], "since": 1})).await;
    let stored = loop {
        let frame = person.frame().await;
        if frame["type"] == "turn" || frame["type"] == "done" {
            break frame;
        }
    };
    assert_eq!((&stored["seq"], &stored["finish"]), (&json!(2), &json!("stopped")));
}

#[tokio::test]
async fn stores_truncated_answer() {
    let node = impatient().start().await;
    node.standin.push(Answer { cut: true, ..Answer::pieces(["un ", "comienzo"]) });
    let mut person = node.at_core().await;
    person.hello().await;
    let reply = person.ask("a", "hola").await;
    assert_eq!((reply.text.as_str(), &reply.done["finish"]), ("un comienzo", &json!("error")));
    // A partial answer that was shown is not regenerated; the next message is answered.
    assert_eq!(node.standin.total(), 1);
    assert_eq!(person.ask("b", "Seguí, por favor.").await.text, "eco: Seguí, por favor.");
}

#[tokio::test]
async fn bounds_concurrent_calls() {
    let node = Plan::default().core("MAX_IN_FLIGHT", 3).start().await;
    let held: Vec<_> = (0..12).map(|_| node.standin.push_held(Answer::text("listo"), 0)).collect();
    let mut people = Vec::new();
    for number in 0..12 {
        let mut person = node.at_core().await;
        person.hello().await;
        person.say("a", &format!("persona {number}")).await;
        person.frame_of(if number < 3 { "accepted" } else { "queued" }).await;
        people.push(person);
    }
    assert_eq!(node.standin.wait_for(|calls| calls.len() == 3).await.unwrap().len(), 3);
    drop(held);
    for mut person in people {
        assert_eq!(person.answer("a").await.text, "listo");
    }
    assert_eq!((node.standin.total(), node.standin.most_in_flight(), node.standin.in_flight()), (12, 3, 0));
}

#[tokio::test]
async fn falls_back_through_providers_to_the_companion() {
    let first = LlmStandin::start(Options::default()).await.unwrap();
    let second = LlmStandin::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("providers.json");
    let provider = |standin: &LlmStandin, model: &str| json!({"url": standin.url(), "model": model, "key": "clave"});
    let providers = json!([provider(&first, "uno"), provider(&second, "dos")]);
    std::fs::write(&file, providers.to_string()).unwrap();
    let node = impatient().core("LLM_URL", "").core("LLM_PROVIDERS", file.display()).start().await;
    let mut person = node.at_core().await;
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
    assert!(node.logs().iter().all(|line| !line.contains("clave")));
}
