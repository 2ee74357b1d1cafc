//! Help for a person at risk comes first, whatever else is wrong. Order and presence; how soon is for
//! `loadgen` to measure.

mod faults;
mod refused;
mod stolen;

use protocol::Face;
use serde_json::{Value, json};
use testkit::line_peer::LinePeer;
use testkit::llm::{Answer, Fallback, Hang};
use testkit::peer::Peer;
use tokio::net::TcpStream;

use crate::single_node::{Plan, SingleNode};
use crate::test_client::TestClient;

const WISH: &str = "me quiero morir";

/// A model that never says anything.
fn silent() -> Fallback {
    Fallback::Answer(Answer::default().hanging(Hang::Headers))
}

/// The next frame is help for message `id`, with lines.
async fn is_helped<P: Peer>(person: &mut TestClient<P>, id: &str) {
    let frame = person.frame().await;
    assert_eq!(
        (&frame["type"], &frame["id"], &frame["level"]),
        (&json!("support"), &json!(id), &json!("high")),
        "{frame}"
    );
    let resources = frame["resources"].as_array().unwrap();
    assert!(resources.iter().any(|resource| resource["kind"] == "emergency"), "{frame}");
    assert_eq!(frame["seq"], Value::Null, "not stored yet: {frame}");
}

/// The next line is the plain face's one line of help.
async fn is_helped_plainly<P: Peer>(person: &mut TestClient<P>) {
    let line = person.line().await;
    assert!(line.starts_with("Ayuda: ") && line.contains("/crisis"), "{line}");
}

/// Frames up to the `done` of message `id`.
async fn until_done<P: Peer>(person: &mut TestClient<P>, id: &str) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        frames.push(person.frame().await);
        let last = &frames[frames.len() - 1];
        assert_ne!(last["type"], "error", "{frames:?}");
        if last["type"] == "done" && last["id"] == id {
            return frames;
        }
    }
}

async fn resume(node: &SingleNode, welcome: &Value, since: u64) -> (TestClient<LinePeer<TcpStream>>, Value) {
    let mut person = node.at_core().await;
    person.send(json!({"type": "hello", "v": 1, "resume": welcome["resume"], "since": since})).await;
    let welcome = person.frame().await;
    assert_eq!(welcome["resumed"], true, "{welcome}");
    (person, welcome)
}

/// What the product exists for.
#[tokio::test]
async fn message_beyond_the_rate_limit_gets_help_and_an_answer() {
    let node = Plan::with_gateway().start().await;
    let mut person = node.at_gateway(Face::Frames).await;
    let welcome = person.hello().await;
    for number in 1..=10 {
        person.ask(&format!("m{number}"), "hola").await;
    }
    person.say("m11", "sigo acá").await;
    assert_eq!(person.frame().await["code"], "rate_limited");

    person.say("m12", WISH).await;
    is_helped(&mut person, "m12").await;
    assert_eq!(person.frame().await["type"], "accepted");
    let answer = until_done(&mut person, "m12").await;
    let done = &answer[answer.len() - 1];
    assert_eq!((&done["source"], &done["finish"]), (&json!("companion"), &json!("stop")), "{done}");
    assert!(answer.iter().any(|frame| frame["type"] == "turn" && frame["role"] == "support"), "{answer:?}");
    // Ten calls were allowed, and ten were made: risk words buy none.
    assert_eq!(node.standin.total(), 10);

    // After a reload it is still there, with lines.
    let (mut again, _) = resume(&node, &welcome, 20).await;
    let stored: Vec<_> = [again.frame().await, again.frame().await, again.frame().await].into();
    let roles: Vec<_> = stored.iter().map(|turn| turn["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "support", "assistant"], "{stored:?}");
    assert!(!stored[1]["resources"].as_array().unwrap().is_empty(), "{stored:?}");
    assert_eq!(stored[1]["level"], "high");
    again.send(json!({"type": "request", "id": "r", "method": "export"})).await;
    let exported = again.frame_of("response").await["result"]["entries"].take();
    assert_eq!(exported[21]["role"], "support", "{exported}");
    assert!(!exported[21]["resources"].as_array().unwrap().is_empty(), "{exported}");
}

#[tokio::test]
async fn hanging_model_and_exhausted_limits_delay_no_help() {
    let node = Plan::with_gateway().core("PER_USER_MAX", 1).fallback(silent()).start().await;
    let mut person = node.at_gateway(Face::Frames).await;
    person.hello().await;
    let mut other = node.at_gateway(Face::Plain).await;
    other.lines(3).await;
    person.say("a", "hola").await;
    person.frame_of("accepted").await;
    // As many as may be in progress are.
    person.say("b", "¿estás?").await;
    assert_eq!(person.frame().await["code"], "user_busy");
    person.say("c", WISH).await;
    is_helped(&mut person, "c").await;
    assert_eq!(person.frame().await["type"], "accepted");
    person.send(json!({"type": "stop", "id": "a"})).await;
    let rest = until_done(&mut person, "c").await;
    assert_eq!(rest[rest.len() - 1]["source"], "companion", "{rest:?}");

    // The plain face reads on while an answer is awaited.
    other.write("hola").await;
    other.write(WISH).await;
    is_helped_plainly(&mut other).await;
    other.write("/crisis").await;
    let lines = other.lines(3).await;
    assert!(lines[2].contains("/pais"), "{lines:?}");
}

#[tokio::test]
async fn full_queue_delays_neither_help_nor_answer() {
    let plan = Plan::default().core("MAX_IN_FLIGHT", 1).core("QUEUE_MAX", 1).fallback(silent());
    let node = plan.start().await;
    let mut crowd = Vec::new();
    for _ in 0..2 {
        let mut person = node.at_core().await;
        person.hello().await;
        person.say("a", "hola").await;
        person.frame_of("accepted").await;
        // Once it has the slot, the next one has to wait for it.
        node.standin.wait_for(|calls| calls.len() == 1).await.unwrap();
        crowd.push(person);
    }
    // The one has the slot, the other the place in the queue.
    crowd[1].frame_of("queued").await;
    let mut person = node.at_core().await;
    person.hello().await;
    person.say("a", "hola").await;
    assert_eq!(person.frame().await["code"], "overloaded");
    person.say("b", WISH).await;
    is_helped(&mut person, "b").await;
    assert_eq!(person.frame().await["type"], "accepted");
    let rest = until_done(&mut person, "b").await;
    assert_eq!(rest[rest.len() - 1]["source"], "companion", "{rest:?}");
    assert_eq!(node.standin.total(), 1, "no call was made for it");
}

/// Within the limits it goes before those who came earlier.
#[tokio::test]
async fn messages_in_risk_precede_others_in_the_queue() {
    let node = Plan::default().core("MAX_IN_FLIGHT", 1).start().await;
    let held = node.standin.push_held(Answer::text("ya"), 0);
    let mut people = Vec::new();
    for (number, text) in ["primero", "segundo", WISH].into_iter().enumerate() {
        let mut person = node.at_core().await;
        person.hello().await;
        person.say("a", text).await;
        person.frame_of("accepted").await;
        node.standin.wait_for(|calls| calls.len() == 1).await.unwrap();
        if 0 < number {
            assert_eq!(person.frame_of("queued").await["ahead"], 0, "{text}");
        }
        people.push(person);
    }
    drop(held);
    for person in &mut people {
        person.frame_of("done").await;
    }
    let last = |request: &testkit::llm::Request| {
        let body = request.body();
        let messages = body["messages"].as_array().unwrap();
        messages[messages.len() - 1]["content"].as_str().unwrap().to_owned()
    };
    let asked: Vec<_> = node.standin.requests().iter().map(last).collect();
    assert_eq!(asked, ["primero", WISH, "segundo"]);
}

#[tokio::test]
async fn oversized_text_is_refused_with_help() {
    let node = Plan::default().start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    person.say("a", &format!("{WISH}. {}", "Hoy fue un día largo. ".repeat(500))).await;
    is_helped(&mut person, "a").await;
    let (mut codes, mut roles) = (Vec::new(), Vec::new());
    while codes.is_empty() || roles.is_empty() {
        let frame = person.frame().await;
        match frame["type"].as_str() {
            Some("error") => codes.push(frame["code"].clone()),
            Some("turn") => roles.push(frame["role"].clone()),
            _ => panic!("{frame}"),
        }
    }
    assert_eq!((codes, roles), (vec![json!("text_too_long")], vec![json!("support")]));
}

#[tokio::test]
async fn draining_core_sends_help() {
    let answer = Answer::chunks(2).paced(0, 4_000);
    let mut node = Plan::with_gateway().core("DRAIN_SECONDS", 20).fallback(Fallback::Answer(answer)).start().await;
    let mut framed = node.at_gateway(Face::Frames).await;
    framed.hello().await;
    let mut plain = node.at_core().await;
    plain.lines(3).await;
    framed.say("a", "hola").await;
    framed.frame_of("delta").await;
    plain.write("hola").await;
    node.standin.wait_for(|calls| calls.len() == 2).await.unwrap();
    node.core.ask_to_stop();
    framed.frame_of("notice").await;
    framed.say("b", WISH).await;
    is_helped(&mut framed, "b").await;
    plain.write(WISH).await;
    is_helped_plainly(&mut plain).await;
    // The answers in progress come to their end; unaccepted messages is refused.
    assert_eq!(framed.frame_of("error").await["code"], "shutting_down");
    let lines = plain.lines(2).await;
    assert!(!lines[0].starts_with("Ayuda: "), "{lines:?}");
    assert_eq!(plain.read().await, None);
    node.core.terminate().await;
}

/// A model is configured, and is not asked: the companion answers a good-bye, with the lines.
#[tokio::test]
async fn leaving_at_risk_repeats_the_help_lines() {
    let node = Plan::default().start().await;
    let mut framed = node.at_core().await;
    framed.hello().await;
    framed.say("a", WISH).await;
    is_helped(&mut framed, "a").await;
    until_done(&mut framed, "a").await;
    let asked = node.standin.total();
    framed.say("b", "chau, me voy a dormir").await;
    is_helped(&mut framed, "b").await;
    let answer = until_done(&mut framed, "b").await;
    assert_eq!(answer[answer.len() - 1]["source"], "companion", "{answer:?}");
    assert_eq!(node.standin.total(), asked);

    for (words, risk, help) in [("salir", WISH, "Ayuda: "), ("exit", "I want to kill myself", "Help: ")] {
        let mut plain = node.at_core().await;
        plain.lines(3).await;
        plain.write(risk).await;
        plain.lines(2).await;
        plain.write(words).await;
        let line = plain.line().await;
        assert!(line.starts_with(help), "{line}");
        plain.line().await;
        assert_eq!(plain.read().await, None);
    }
    let mut calm = node.at_core().await;
    calm.lines(3).await;
    calm.write("salir").await;
    assert_eq!(calm.line().await, "Gracias por hablar conmigo. Cuidate mucho.");
}
