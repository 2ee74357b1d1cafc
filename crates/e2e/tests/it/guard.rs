//! Second opinion on messages, with the core as a process.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::guard::{Fault, GuardStandin};
use testkit::line_peer::LinePeer;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::single_node::{Plan, SingleNode};
use crate::test_client::TestClient;

/// Message that the built-in rules rate as harmless.
const HARMLESS: &str = "hoy ordené los cajones de la cocina";

fn judge(text: &str) -> &'static str {
    if text.contains("cajones") { "concern" } else { "none" }
}

async fn node(standin: &GuardStandin, deadline_ms: u64) -> SingleNode {
    let plan = Plan::default().core("GUARD_URL", standin.url("moderations")).core("GUARD_DEADLINE_MS", deadline_ms);
    plan.start().await
}

async fn done(person: &mut TestClient<LinePeer<TcpStream>>, id: &str, text: &str) -> Value {
    person.say(id, text).await;
    person.frame_of("done").await
}

fn system_prompts(node: &SingleNode) -> Vec<String> {
    let requests = node.standin.requests();
    requests.iter().map(|request| request.body()["messages"][0]["content"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn second_opinion_raises_the_level() {
    let standin = GuardStandin::start(judge).await.unwrap();
    let node = node(&standin, 2_000).await;
    let mut person = node.at_core().await;
    person.hello().await;
    done(&mut person, "a", "hola, hoy hace frío").await;
    done(&mut person, "b", HARMLESS).await;
    let [calm, raised] = system_prompts(&node).try_into().unwrap();
    assert!(raised.starts_with(&calm) && calm.len() < raised.len(), "{raised}");
    assert_eq!(
        standin.calls().iter().map(|call| call.body["input"].clone()).collect::<Vec<_>>(),
        [json!("hola, hoy hace frío"), json!(HARMLESS)]
    );
    assert!(node.logs().iter().all(|line| !line.contains("cajones")));
}

#[tokio::test]
async fn missing_second_opinion_delays_no_answer() {
    let standin = GuardStandin::start(judge).await.unwrap();
    let node = node(&standin, 300).await;
    let mut person = node.at_core().await;
    person.hello().await;
    for (number, fault) in [Fault::Hang, Fault::Status(500), Fault::Garbage, Fault::Hang].into_iter().enumerate() {
        standin.set_fault(Some(fault));
        let begin = Instant::now();
        let done = done(&mut person, &format!("m{number}"), HARMLESS).await;
        assert_eq!((&done["source"], &done["finish"]), (&json!("llm"), &json!("stop")), "{fault:?}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{fault:?}: {:?}", begin.elapsed());
    }
    assert_eq!(standin.calls().len(), 3, "after three failures in a row it is left alone");
    assert!(system_prompts(&node).windows(2).all(|pair| pair[0] == pair[1]));
}
