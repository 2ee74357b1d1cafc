//! Overload of the model: a part is served, the rest is refused with a retry delay, and service
//! recovers. `loadgen overload` measures the latencies.

use futures_util::future::join_all;
use protocol::Face;
use serde_json::Value;
use testkit::llm::{Answer, Fallback};
use testkit::ws_peer::WsPeer;

use crate::single_node::{Plan, SingleNode};
use crate::test_client::TestClient;

const SLOTS: usize = 4;
const QUEUE: usize = 8;
const PEOPLE: usize = 60;
/// Sequential messages per client; a refused client sends the next at once.
const MESSAGES: usize = 20;
const ANSWER_MS: u64 = 100;

async fn arrive(node: &SingleNode) -> TestClient<WsPeer> {
    let mut person = node.at_gateway(Face::Frames).await;
    person.hello().await;
    person
}

/// Terminal frame of a message: `done` or the error that refused it.
async fn outcome(person: &mut TestClient<WsPeer>, id: &str) -> Value {
    person.say(id, "hola").await;
    let mut accepted = false;
    loop {
        let frame = person.frame().await;
        assert_eq!(frame["id"], id, "{frame}");
        match frame["type"].as_str().unwrap() {
            "accepted" => accepted = true,
            "queued" | "delta" => assert!(accepted, "{frame}"),
            "done" => {
                assert!(accepted && frame["source"] == "llm" && frame["finish"] == "stop", "{frame}");
                return frame;
            }
            "error" => {
                assert!(!accepted && frame["code"] == "overloaded", "{frame}");
                assert!((1..=60_000).contains(&frame["retry_after_ms"].as_u64().unwrap()), "{frame}");
                return frame;
            }
            _ => panic!("out of place: {frame}"),
        }
    }
}

#[tokio::test]
async fn refuses_the_excess_and_serves_the_rest() {
    let fallback = Fallback::Answer(Answer::text("te escucho").paced(ANSWER_MS, 0));
    let plan = Plan::with_gateway().core("MAX_IN_FLIGHT", SLOTS).core("QUEUE_MAX", QUEUE);
    // Without summaries, every counted call is an answer.
    let plan = plan.core("RATE_MAX_MESSAGES", 1_000).core("LLM_SUMMARY", "off");
    let node = plan.fallback(fallback).start().await;
    let mut people = join_all((0..PEOPLE).map(|_| arrive(&node))).await;
    let talk = join_all(people.iter_mut().map(async |person| {
        let mut served = 0;
        for number in 0..MESSAGES {
            served += u64::from(outcome(person, &format!("m{number}")).await["type"] == "done");
        }
        served
    }));
    let served: u64 = talk.await.into_iter().sum();
    let refused = (PEOPLE * MESSAGES) as u64 - served;
    assert!((SLOTS + QUEUE) as u64 <= served && 0 < refused, "{served} served, {refused} refused");
    // Refused messages caused no call.
    assert_eq!((node.standin.total(), node.standin.most_in_flight()), (served, SLOTS));

    // Concurrency reached the limit and did not exceed it.
    let again = join_all(people.iter_mut().take(SLOTS + QUEUE).map(|person| outcome(person, "again"))).await;
    assert!(again.iter().all(|outcome| outcome["type"] == "done"), "{again:?}");
    let mut newcomer = arrive(&node).await;
    assert_eq!(newcomer.ask("m", "hola").await.text, "te escucho");
    assert_eq!(node.standin.total(), served + (SLOTS + QUEUE) as u64 + 1);
}
