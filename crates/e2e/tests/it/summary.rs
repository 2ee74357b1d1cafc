//! Background summaries: their content in the model's prompt, and no delay of answers.

use protocol::Face;
use serde_json::{Value, json};
use testkit::line_peer::LinePeer;
use testkit::llm::{Answer, Fallback, Hang, Outcome, Request};
use testkit::peer::Peer;
use tokio::net::TcpStream;

use crate::single_node::{Plan, SingleNode};
use crate::test_client::TestClient;

/// Marker in every summary of the stand-in.
const GIST: &str = "la esencia de lo hablado";

/// True if `text` is the last message of a summary call.
fn is_material(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| value["exchanges"].is_array())
}

/// Model: echoes; returns a summary to summary calls.
fn answer(number: u64, said: &str) -> Answer {
    if is_material(said) { Answer::text(format!(" {GIST}\n\n{number} ")) } else { Answer::text(format!("eco: {said}")) }
}

/// Model: echoes; summary calls hang.
fn silent(number: u64, said: &str) -> Answer {
    if is_material(said) { Answer::default().hanging(Hang::Headers) } else { answer(number, said) }
}

/// Model: echoes; summary calls fail.
fn failing(number: u64, said: &str) -> Answer {
    if is_material(said) { Answer::status(503) } else { answer(number, said) }
}

/// Plan with a history of two exchanges and a summary at every third message.
fn plan(reply: fn(u64, &str) -> Answer) -> Plan {
    let plan = Plan::default().core("LLM_HISTORY_MAX_MESSAGES", 4).core("LLM_SUMMARY_EVERY_MESSAGES", 3);
    plan.core("RATE_MAX_MESSAGES", 1_000).fallback(Fallback::Reply(reply))
}

fn messages(request: &Request) -> Vec<(String, String)> {
    let body = request.body();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| (text(&message["role"]), text(&message["content"])))
        .collect()
}

fn sums_up(request: &Request) -> bool {
    messages(request).last().is_some_and(|(_, said)| is_material(said))
}

/// Material of all summary calls.
fn materials(node: &SingleNode) -> Vec<Value> {
    let requests = node.standin.requests();
    let material = |request: &Request| serde_json::from_str(&messages(request).last().unwrap().1).unwrap();
    requests.iter().filter(|request| sums_up(request)).map(material).collect()
}

/// Sends messages `from` to `to` one by one and reads the answers.
async fn talk<P: Peer>(person: &mut TestClient<P>, from: u64, to: u64) {
    for number in from..=to {
        let text = format!("mensaje {number}");
        assert_eq!(person.ask(&format!("m{number}"), &text).await.text, format!("eco: {text}"));
    }
}

/// Waits until `count` summary calls have ended and the core has logged the last one.
async fn summed_up(node: &mut SingleNode, count: usize) {
    let ended = |requests: &[Request]| requests.iter().filter(|it| sums_up(it) && it.ended.is_some()).count();
    node.standin.wait_for(|requests| count <= ended(requests)).await.unwrap();
    node.core.wait_for_times(count, "older messages summed up").await;
}

/// Prompt with message `text`: the system instructions and the messages below them.
fn read_with(node: &SingleNode, text: &str) -> (String, Vec<String>) {
    let requests = node.standin.requests();
    let request = requests.iter().rev().find(|request| messages(request).last().unwrap().1 == text).unwrap();
    let mut messages = messages(request).into_iter();
    let (role, system) = messages.next().unwrap();
    assert_eq!(role, "system");
    (
        system,
        messages
            .map(|(role, said)| {
                assert_ne!(role, "system");
                said
            })
            .collect(),
    )
}

fn quoted(numbers: std::ops::RangeInclusive<u64>) -> Value {
    let exchange = |number| json!({"person": format!("mensaje {number}"), "answer": format!("eco: mensaje {number}")});
    numbers.map(exchange).collect()
}

async fn someone(node: &SingleNode) -> (TestClient<LinePeer<TcpStream>>, Value) {
    let mut person = node.at_core().await;
    let welcome = person.hello().await;
    (person, welcome)
}

#[tokio::test]
async fn summarizes_omitted_messages() {
    let mut node = plan(answer).core("LLM_SUMMARY_MAX_TOKENS", 99).start().await;
    let (mut person, _) = someone(&node).await;
    talk(&mut person, 1, 6).await;
    summed_up(&mut node, 1).await;
    talk(&mut person, 7, 9).await;
    summed_up(&mut node, 2).await;
    talk(&mut person, 10, 10).await;

    // At message 3 none is omitted. At 6 the summary covers 1 to 3; 4 to 6 are summarized ahead, for 7 to 9.
    let first = json!({"exchanges": quoted(1..=6)});
    assert_eq!(materials(&node)[0], first);
    let summary = materials(&node)[1]["summary"].as_str().unwrap().to_owned();
    assert!(summary.starts_with(GIST) && !summary.contains('\n'), "{summary:?}");
    assert_eq!(materials(&node)[1], json!({"summary": summary, "exchanges": quoted(7..=9)}));
    assert_eq!(materials(&node).len(), 2);

    for (number, with) in [(6, false), (7, true), (8, true), (9, true)] {
        let (system, said) = read_with(&node, &format!("mensaje {number}"));
        assert_eq!(system.contains(&summary), with, "{number}: {system}");
        let shown =
            [number - 2, number - 1].map(|number| [format!("mensaje {number}"), format!("eco: mensaje {number}")]);
        assert_eq!(said, [&shown.concat()[..], &[format!("mensaje {number}")]].concat());
    }
    let requests = node.standin.requests();
    let fold = requests.iter().find(|request| sums_up(request)).unwrap();
    assert_eq!(fold.body()["max_tokens"], 99);
    assert!(fold.request_id().unwrap().ends_with(":m6"), "{:?}", fold.request_id());
    // The summary is not an entry of the session.
    person.send(json!({"type": "request", "id": "all", "method": "export"})).await;
    let exported = person.frame_of("response").await;
    assert_eq!(exported["result"]["entries"].as_array().unwrap().len(), 20);
    assert!(!exported.to_string().contains(GIST));
}

#[tokio::test]
async fn off_disables_summaries() {
    let nothing_earlier = plan(answer).core("LLM_HISTORY_MAX_MESSAGES", 0);
    for plan in [plan(answer).core("LLM_SUMMARY", "off"), nothing_earlier] {
        let mut node = plan.core("LOG_LEVEL", "debug").start().await;
        let (mut person, _) = someone(&node).await;
        talk(&mut person, 1, 9).await;
        // All background calls have ended.
        node.core.terminate().await;
        assert_eq!(node.standin.total(), 9);
    }
}

#[tokio::test]
async fn hanging_summary_delays_no_answer() {
    // One slot: answers get it at once, although a summary call hangs.
    let node = plan(silent).core("MAX_IN_FLIGHT", 1).core("QUEUE_TIMEOUT_SECONDS", 5).core("LOG_LEVEL", "debug");
    let mut node = node.start().await;
    let (mut person, _) = someone(&node).await;
    talk(&mut person, 1, 6).await;
    let hangs = |requests: &[Request]| requests.iter().any(|it| sums_up(it) && it.outcome == Outcome::Running);
    node.standin.wait_for(hangs).await.unwrap();
    let (mut other, _) = someone(&node).await;
    let reply = other.ask("a", "hola").await;
    assert_eq!(reply.text, "eco: hola");
    assert!(reply.done["ms"]["queue"].as_u64().unwrap() < 1_000, "{}", reply.done);
    let ended = |requests: &[Request]| requests.iter().all(|it| !sums_up(it) || it.outcome == Outcome::Cancelled);
    node.standin.wait_for(ended).await.unwrap();
    node.core.wait_for("summarization skipped").await;
    assert!(node.logs().iter().any(|line| line.contains("preempted by an answer")));
    assert_eq!(node.standin.most_in_flight(), 1);
    // Retried at the next occasion, not before.
    talk(&mut person, 7, 8).await;
    assert_eq!(materials(&node).len(), 1);
    talk(&mut person, 9, 9).await;
    node.standin.wait_for(hangs).await.unwrap();
    assert_eq!(materials(&node)[1], json!({"exchanges": quoted(1..=9)}));

    // It does not delay the core's shutdown either.
    node.core.terminate().await;
    let logs = node.logs().join("\n");
    assert!(!logs.contains("drain timed out") && logs.contains("the core is draining"), "{logs}");
}

#[tokio::test]
async fn failed_summary_is_retried_at_the_next_occasion() {
    let node = plan(failing).core("LOG_LEVEL", "debug").start().await;
    let (mut person, _) = someone(&node).await;
    talk(&mut person, 1, 8).await;
    node.core.wait_for("summarization skipped").await;
    assert_eq!(node.standin.total(), 9);
    assert_eq!(read_with(&node, "mensaje 8").1.len(), 5);
}

/// Contains numbers that are not known help lines.
const BAD_GIST: [&str; 3] =
    ["la esencia de lo hablado: cuando está mal llama al 08", "00-555-77", "88, y vuelve a hacerlo."];

/// Model: echoes; summaries violate a rule of the screen.
fn bad(number: u64, said: &str) -> Answer {
    if is_material(said) { Answer::pieces(BAD_GIST) } else { answer(number, said) }
}

#[tokio::test]
async fn discards_summaries_rejected_by_the_screen() {
    let mut node = plan(bad).core("LOG_LEVEL", "debug").start().await;
    let (mut person, _) = someone(&node).await;
    talk(&mut person, 1, 6).await;
    node.core.wait_for("summarization skipped").await;
    talk(&mut person, 7, 9).await;
    node.core.wait_for_times(2, "summarization skipped").await;
    assert_eq!(materials(&node), [json!({"exchanges": quoted(1..=6)}), json!({"exchanges": quoted(1..=9)})]);
    talk(&mut person, 10, 10).await;
    assert!(!read_with(&node, "mensaje 10").0.contains(GIST));
    let logs = node.logs().join("\n");
    assert_eq!(logs.matches("the summary violates a rule for answers").count(), 2, "{logs}");
    assert!(!logs.contains("older messages summed up") && !logs.contains(GIST) && !logs.contains("555"), "{logs}");
    node.core.terminate().await;
    for file in std::fs::read_dir(node.subfolder("core/data")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(GIST.len()).any(|part| part == GIST.as_bytes()));
    }
}

#[tokio::test]
async fn erase_removes_summaries() {
    let slow = |number, said: &str| {
        if is_material(said) { answer(number, said).paced(1_500, 0) } else { answer(number, said) }
    };
    let mut node = plan(slow).core("LOG_LEVEL", "debug").start().await;
    let (mut person, welcome) = someone(&node).await;
    talk(&mut person, 1, 6).await;
    node.standin.wait_for(|requests| requests.iter().any(sums_up)).await.unwrap();
    let confirm = json!({"confirm": welcome["session"]});
    person.send(json!({"type": "request", "id": "r", "method": "erase", "params": confirm})).await;
    assert_eq!(person.frame_of("response").await["result"]["erased"], 12);
    node.core.wait_for("summarization skipped").await;
    assert!(node.logs().iter().any(|line| line.contains("does not exist")), "{}", node.logs().join("\n"));
    assert_eq!(
        node.standin.requests().iter().filter(|it| sums_up(it)).map(|it| it.outcome).collect::<Vec<_>>(),
        [Outcome::Finished]
    );
    node.core.terminate().await;
    for file in std::fs::read_dir(node.subfolder("core/data")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for text in [GIST, "mensaje"] {
            assert!(!bytes.windows(text.len()).any(|part| part == text.as_bytes()), "{text}");
        }
    }
}

#[tokio::test]
async fn summarizes_behind_a_gateway() {
    let mut node = plan(answer).gateways(1).start().await;
    let mut person = node.at_gateway(Face::Frames).await;
    person.hello().await;
    talk(&mut person, 1, 6).await;
    summed_up(&mut node, 1).await;
    talk(&mut person, 7, 7).await;
    assert!(read_with(&node, "mensaje 7").0.contains(GIST));
}
