//! Many times what the model can answer: part of it is served, all the rest is refused with a time to
//! come back, and afterwards everything is as before. How soon is for `loadgen overload` to measure.

use futures_util::future::join_all;
use protocol::Face;
use serde_json::Value;
use testkit::llm::{Answer, Fallback};
use testkit::ws_peer::WsPeer;

use crate::person::Person;
use crate::town::{Plan, Town};

const SLOTS: usize = 4;
const QUEUE: usize = 8;
const PEOPLE: usize = 60;
/// Of each person, one after another: whoever is refused says the next at once.
const MESSAGES: usize = 20;
const ANSWER_MS: u64 = 100;

async fn arrive(town: &Town) -> Person<WsPeer> {
    let mut person = town.at_gateway(Face::Frames).await;
    person.hello().await;
    person
}

/// The one frame that ends a message: its `done`, or the error that refused it.
async fn outcome(person: &mut Person<WsPeer>, id: &str) -> Value {
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
async fn what_is_too_much_is_refused_and_the_rest_is_served() {
    let fallback = Fallback::Answer(Answer::text("te escucho").paced(ANSWER_MS, 0));
    let plan = Plan::with_gateway().core("MAX_IN_FLIGHT", SLOTS).core("QUEUE_MAX", QUEUE);
    // Calls are counted: answers only.
    let plan = plan.core("RATE_MAX_MESSAGES", 1_000).core("LLM_SUMMARY", "off");
    let town = plan.fallback(fallback).start().await;
    let mut people = join_all((0..PEOPLE).map(|_| arrive(&town))).await;
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
    // Nothing was asked of the model that was refused, and no more than it can do.
    assert_eq!((town.standin.total(), town.standin.most_in_flight()), (served, SLOTS));

    // As many at once as there is room for.
    let again = join_all(people.iter_mut().take(SLOTS + QUEUE).map(|person| outcome(person, "again"))).await;
    assert!(again.iter().all(|outcome| outcome["type"] == "done"), "{again:?}");
    let mut newcomer = arrive(&town).await;
    assert_eq!(newcomer.ask("m", "hola").await.text, "te escucho");
    assert_eq!(town.standin.total(), served + (SLOTS + QUEUE) as u64 + 1);
}
