//! Older messages summed up in the background: what the model gets to read then, and that nobody waits for it.

use protocol::Face;
use serde_json::{Value, json};
use testkit::line_peer::LinePeer;
use testkit::llm::{Answer, Fallback, Hang, Outcome, Request};
use testkit::peer::Peer;
use tokio::net::TcpStream;

use crate::person::Person;
use crate::town::{Plan, Town};

/// In every summary the stand-in makes.
const GIST: &str = "la esencia de lo hablado";

/// Whether `text` is what a call that sums up says last.
fn is_material(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| value["exchanges"].is_array())
}

/// An echo, and a summary where one is asked for.
fn answer(number: u64, said: &str) -> Answer {
    if is_material(said) { Answer::text(format!(" {GIST}\n\n{number} ")) } else { Answer::text(format!("eco: {said}")) }
}

/// The same, but whoever asks for a summary waits for ever.
fn silent(number: u64, said: &str) -> Answer {
    if is_material(said) { Answer::default().hanging(Hang::Headers) } else { answer(number, said) }
}

/// The same, but nobody gets a summary.
fn failing(number: u64, said: &str) -> Answer {
    if is_material(said) { Answer::status(503) } else { answer(number, said) }
}

/// Two exchanges stand for themselves; every third message the others are summed up.
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

/// What the calls that sum up got to read.
fn materials(town: &Town) -> Vec<Value> {
    let requests = town.standin.requests();
    let material = |request: &Request| serde_json::from_str(&messages(request).last().unwrap().1).unwrap();
    requests.iter().filter(|request| sums_up(request)).map(material).collect()
}

/// Says messages `from` to `to`, one after the other; all are answered.
async fn talk<P: Peer>(person: &mut Person<P>, from: u64, to: u64) {
    for number in from..=to {
        let text = format!("mensaje {number}");
        assert_eq!(person.ask(&format!("m{number}"), &text).await.text, format!("eco: {text}"));
    }
}

/// Waits until as many calls that sum up have ended as `count`, and the core has noted the last one.
async fn summed_up(town: &mut Town, count: usize) {
    let ended = |requests: &[Request]| requests.iter().filter(|it| sums_up(it) && it.ended.is_some()).count();
    town.standin.wait_for(|requests| count <= ended(requests)).await.unwrap();
    town.core.wait_for_times(count, "older messages summed up").await;
}

/// What the model got to read with the message `text`: the instructions, and what stands below them.
fn read_with(town: &Town, text: &str) -> (String, Vec<String>) {
    let requests = town.standin.requests();
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

async fn someone(town: &Town) -> (Person<LinePeer<TcpStream>>, Value) {
    let mut person = town.at_core().await;
    let welcome = person.hello().await;
    (person, welcome)
}

#[tokio::test]
async fn what_is_left_out_is_summed_up_and_read() {
    let mut town = plan(answer).core("LLM_SUMMARY_MAX_TOKENS", 99).start().await;
    let (mut person, _) = someone(&town).await;
    talk(&mut person, 1, 6).await;
    summed_up(&mut town, 1).await;
    talk(&mut person, 7, 9).await;
    summed_up(&mut town, 2).await;
    talk(&mut person, 10, 10).await;

    // At message 3 nothing was left out. At 6 it is 1 to 3; 4 to 6 are folded ahead, for 7 to 9.
    let first = json!({"exchanges": quoted(1..=6)});
    assert_eq!(materials(&town)[0], first);
    let summary = materials(&town)[1]["summary"].as_str().unwrap().to_owned();
    assert!(summary.starts_with(GIST) && !summary.contains('\n'), "{summary:?}");
    assert_eq!(materials(&town)[1], json!({"summary": summary, "exchanges": quoted(7..=9)}));
    assert_eq!(materials(&town).len(), 2);

    for (number, with) in [(6, false), (7, true), (8, true), (9, true)] {
        let (system, said) = read_with(&town, &format!("mensaje {number}"));
        assert_eq!(system.contains(&summary), with, "{number}: {system}");
        let shown =
            [number - 2, number - 1].map(|number| [format!("mensaje {number}"), format!("eco: mensaje {number}")]);
        assert_eq!(said, [&shown.concat()[..], &[format!("mensaje {number}")]].concat());
    }
    let requests = town.standin.requests();
    let fold = requests.iter().find(|request| sums_up(request)).unwrap();
    assert_eq!(fold.body()["max_tokens"], 99);
    assert!(fold.request_id().unwrap().ends_with(":m6"), "{:?}", fold.request_id());
    // It is nobody's entry.
    person.send(json!({"type": "request", "id": "all", "method": "export"})).await;
    let exported = person.frame_of("response").await;
    assert_eq!(exported["result"]["entries"].as_array().unwrap().len(), 20);
    assert!(!exported.to_string().contains(GIST));
}

#[tokio::test]
async fn off_means_off() {
    let nothing_earlier = plan(answer).core("LLM_HISTORY_MAX_MESSAGES", 0);
    for plan in [plan(answer).core("LLM_SUMMARY", "off"), nothing_earlier] {
        let mut town = plan.core("LOG_LEVEL", "debug").start().await;
        let (mut person, _) = someone(&town).await;
        talk(&mut person, 1, 9).await;
        // Whatever was begun has come to its end.
        town.core.terminate().await;
        assert_eq!(town.standin.total(), 9);
    }
}

#[tokio::test]
async fn a_summary_that_does_not_come_is_in_nobodys_way() {
    // One slot: whoever wants it gets it at once, though the call that sums up hangs.
    let town = plan(silent).core("MAX_IN_FLIGHT", 1).core("QUEUE_TIMEOUT_SECONDS", 5).core("LOG_LEVEL", "debug");
    let mut town = town.start().await;
    let (mut person, _) = someone(&town).await;
    talk(&mut person, 1, 6).await;
    let hangs = |requests: &[Request]| requests.iter().any(|it| sums_up(it) && it.outcome == Outcome::Running);
    town.standin.wait_for(hangs).await.unwrap();
    let (mut other, _) = someone(&town).await;
    let reply = other.ask("a", "hola").await;
    assert_eq!(reply.text, "eco: hola");
    assert!(reply.done["ms"]["queue"].as_u64().unwrap() < 1_000, "{}", reply.done);
    let ended = |requests: &[Request]| requests.iter().all(|it| !sums_up(it) || it.outcome == Outcome::Cancelled);
    town.standin.wait_for(ended).await.unwrap();
    town.core.wait_for("no summary").await;
    assert!(town.logs().iter().any(|line| line.contains("an answer needs the slot")));
    assert_eq!(town.standin.most_in_flight(), 1);
    // Once more, at the next occasion and not before.
    talk(&mut person, 7, 8).await;
    assert_eq!(materials(&town).len(), 1);
    talk(&mut person, 9, 9).await;
    town.standin.wait_for(hangs).await.unwrap();
    assert_eq!(materials(&town)[1], json!({"exchanges": quoted(1..=9)}));

    // Nor does it keep the core from ending.
    town.core.terminate().await;
    let logs = town.logs().join("\n");
    assert!(!logs.contains("drain timed out") && logs.contains("the core is draining"), "{logs}");
}

#[tokio::test]
async fn a_summary_that_fails_is_tried_once() {
    let town = plan(failing).core("LOG_LEVEL", "debug").start().await;
    let (mut person, _) = someone(&town).await;
    talk(&mut person, 1, 8).await;
    town.core.wait_for("no summary").await;
    assert_eq!(town.standin.total(), 9);
    assert_eq!(read_with(&town, "mensaje 8").1.len(), 5);
}

/// Of numbers that are in no list of help lines; cut where a number has begun.
const BAD_GIST: [&str; 3] =
    ["la esencia de lo hablado: cuando está mal llama al 08", "00-555-77", "88, y vuelve a hacerlo."];

/// A summary that must not be kept, where one is asked for.
fn bad(number: u64, said: &str) -> Answer {
    if is_material(said) { Answer::pieces(BAD_GIST) } else { answer(number, said) }
}

#[tokio::test]
async fn a_summary_that_breaks_a_rule_for_answers_is_thrown_away() {
    let mut town = plan(bad).core("LOG_LEVEL", "debug").start().await;
    let (mut person, _) = someone(&town).await;
    talk(&mut person, 1, 6).await;
    town.core.wait_for("no summary").await;
    talk(&mut person, 7, 9).await;
    town.core.wait_for_times(2, "no summary").await;
    assert_eq!(materials(&town), [json!({"exchanges": quoted(1..=6)}), json!({"exchanges": quoted(1..=9)})]);
    talk(&mut person, 10, 10).await;
    assert!(!read_with(&town, "mensaje 10").0.contains(GIST));
    let logs = town.logs().join("\n");
    assert_eq!(logs.matches("it breaks a rule for answers").count(), 2, "{logs}");
    assert!(!logs.contains("older messages summed up") && !logs.contains(GIST) && !logs.contains("555"), "{logs}");
    town.core.terminate().await;
    for file in std::fs::read_dir(town.room("core/data")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(GIST.len()).any(|part| part == GIST.as_bytes()));
    }
}

#[tokio::test]
async fn an_erased_conversation_stays_nowhere() {
    let slow = |number, said: &str| {
        if is_material(said) { answer(number, said).paced(1_500, 0) } else { answer(number, said) }
    };
    let mut town = plan(slow).core("LOG_LEVEL", "debug").start().await;
    let (mut person, welcome) = someone(&town).await;
    talk(&mut person, 1, 6).await;
    town.standin.wait_for(|requests| requests.iter().any(sums_up)).await.unwrap();
    let confirm = json!({"confirm": welcome["session"]});
    person.send(json!({"type": "request", "id": "r", "method": "erase", "params": confirm})).await;
    assert_eq!(person.frame_of("response").await["result"]["erased"], 12);
    town.core.wait_for("no summary").await;
    assert!(town.logs().iter().any(|line| line.contains("does not exist")), "{}", town.logs().join("\n"));
    assert_eq!(
        town.standin.requests().iter().filter(|it| sums_up(it)).map(|it| it.outcome).collect::<Vec<_>>(),
        [Outcome::Finished]
    );
    town.core.terminate().await;
    for file in std::fs::read_dir(town.room("core/data")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for text in [GIST, "mensaje"] {
            assert!(!bytes.windows(text.len()).any(|part| part == text.as_bytes()), "{text}");
        }
    }
}

#[tokio::test]
async fn at_a_gateway_it_is_the_same() {
    let mut town = plan(answer).gateways(1).start().await;
    let mut person = town.at_gateway(Face::Frames).await;
    person.hello().await;
    talk(&mut person, 1, 6).await;
    summed_up(&mut town, 1).await;
    talk(&mut person, 7, 7).await;
    assert!(read_with(&town, "mensaje 7").0.contains(GIST));
}
