//! Impaired networks: clients in their own network namespace, on a link with delay, low bandwidth,
//! packet loss or an outage. They resume; nothing is lost or duplicated.

mod impairment;
mod namespace;
mod namespaced_program;

use std::time::Duration;

use client::Address;
use futures_util::future::join_all;
use serde_json::Value;
use testkit::llm::{Answer, Fallback};
use testkit::watchdog::within;
use tokio::time::{Instant, sleep};

use crate::single_node::{Plan, SingleNode};
use impairment::{DELAY, ImpairedLink, Impairment, RATE_BITS};
use namespace::Namespace;
use namespaced_program::NamespacedProgram;

/// Half connect through the gateway, half to the core.
const PEOPLE: usize = 6;
const CUT: Duration = Duration::from_secs(10);
/// Timeout of one client's run: longer than the client's keepalive takes to detect a dead connection.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Starts services at this end of `net`, without rate limits.
async fn node(net: &Namespace, plan: Plan) -> SingleNode {
    let here = net.here().to_string();
    let plan = plan.core("APP_HOST", &here).core("TRUSTED_PROXIES", &here).core("RATE_MAX_MESSAGES", 1_000);
    let plan = plan.gateway("WS_HOST", &here).gateway("TCP_HOST", &here);
    plan.core("MAX_IN_FLIGHT", 100).start().await
}

/// Connects clients over `link`, alternating between the gateway and the core.
async fn arrive(net: &Namespace, link: &mut ImpairedLink<'_>, node: &SingleNode) -> Vec<NamespacedProgram> {
    let gateway = link.to(node.gateways[0].address()).await;
    let core = link.to(node.core.address()).await;
    let address = |number: usize| match number % 2 {
        0 => format!("ws://{gateway}/ws"),
        _ => format!("tcp://{core}"),
    };
    let folder = node.subfolder("guests");
    let arriving = (0..PEOPLE).map(|number| {
        let address: Address = address(number).parse().unwrap();
        NamespacedProgram::arrive(net, number, address, &folder)
    });
    within(TIMEOUT, join_all(arriving)).await.unwrap()
}

/// Model: answers differ with each call and come in `PIECES` deltas.
fn scripted_answer<const PIECES: usize, const GAP_MS: u64>(number: u64, said: &str) -> Answer {
    let piece = |index: usize| format!("{number}.{index} ñandú, 🌱 y «{said}». ");
    Answer::pieces((0..PIECES).map(piece)).paced(GAP_MS, GAP_MS)
}

/// Ends all clients; asserts that each message is stored once with the one answer that was
/// shown, and that the model was called once for each.
async fn compare(node: &SingleNode, guests: Vec<NamespacedProgram>) {
    let mut said = Vec::new();
    for guest in guests {
        let token = guest.token();
        let shown = within(TIMEOUT, guest.leave()).await.unwrap();
        assert_eq!(stored(node, &token).await, shown);
        said.extend(shown.into_iter().filter(|entry| entry.role == "user").map(|entry| entry.text));
    }
    let asked = |request: &testkit::llm::Request| {
        let body = request.body();
        body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned()
    };
    let mut asked: Vec<String> = node.standin.requests().iter().map(asked).collect();
    asked.sort();
    said.sort();
    assert_eq!(asked, said);
}

/// Entry as shown or as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    seq: u64,
    id: String,
    role: String,
    text: String,
}

impl Entry {
    fn stored(entry: &Value) -> Self {
        let text = |name: &str| entry[name].as_str().unwrap().to_owned();
        Self { seq: entry["seq"].as_u64().unwrap(), id: text("id"), role: text("role"), text: text("text") }
    }
}

/// Exports the session of a token from this side of the link.
async fn stored(node: &SingleNode, token: &str) -> Vec<Entry> {
    let mut person = node.at_core().await;
    person.send(serde_json::json!({"type": "hello", "v": 1, "resume": token})).await;
    assert_eq!(person.frame().await["resumed"], true);
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.seq);
        let params = serde_json::json!({ "after_seq": after });
        person.send(serde_json::json!({"type": "request", "id": "all", "method": "export", "params": params})).await;
        let result = person.frame_of("response").await["result"].take();
        entries.extend(result["entries"].as_array().unwrap().iter().map(Entry::stored));
        if result["more"] == false {
            return entries;
        }
    }
}

/// Sends sequential `messages` from every client and reads the answers.
async fn ask(guests: &mut [NamespacedProgram], messages: usize) {
    let asking = guests.iter_mut().map(async |guest| {
        for _ in 0..messages {
            guest.say().await;
            guest.answered().await;
        }
    });
    within(TIMEOUT, join_all(asking)).await.unwrap();
}

#[tokio::test]
async fn survives_100_ms_delay() {
    let Some(net) = Namespace::create() else { return };
    let node = node(&net, Plan::with_gateway().fallback(Fallback::Reply(scripted_answer::<8, 3>))).await;
    let mut link = Impairment::Delay.on(&net);
    let mut guests = arrive(&net, &mut link, &node).await;
    ask(&mut guests, 4).await;
    for guest in &guests {
        assert!(2 * DELAY <= guest.soonest_accepted(), "there was no delay: {:?}", guest.soonest_accepted());
    }
    compare(&node, guests).await;
}

#[tokio::test]
async fn survives_5_percent_loss() {
    let Some(net) = Namespace::create() else { return };
    let node = node(&net, Plan::with_gateway().fallback(Fallback::Reply(scripted_answer::<40, 5>))).await;
    let mut link = Impairment::Loss.on(&net);
    let mut guests = arrive(&net, &mut link, &node).await;
    ask(&mut guests, 4).await;
    compare(&node, guests).await;
    // Of about a thousand packets.
    assert!(10 <= link.lost(), "{} packets were lost", link.lost());
}

#[tokio::test]
async fn survives_1_mbit_bandwidth() {
    let Some(net) = Namespace::create() else { return };
    let node = node(&net, Plan::with_gateway().fallback(Fallback::Reply(scripted_answer::<400, 1>))).await;
    let mut link = Impairment::Rate.on(&net);
    let mut guests = arrive(&net, &mut link, &node).await;
    let begin = Instant::now();
    ask(&mut guests, 2).await;
    let (took, bytes) = (begin.elapsed(), guests.iter().map(NamespacedProgram::bytes_shown).sum::<usize>());
    let least = Duration::from_secs_f64(bytes as f64 * 8.0 / f64::from(RATE_BITS));
    assert!(Duration::from_secs(1) <= least && least <= took, "{bytes} bytes of answers in {took:?}");
    compare(&node, guests).await;
}

/// Cuts the link mid-answer, and before messages are sent. The gateway times its connections out, so its
/// clients resume; the core's clients continue with TCP retransmission.
#[tokio::test]
async fn survives_10_second_outage() {
    let Some(net) = Namespace::create() else { return };
    let plan = Plan::with_gateway().gateway("PING_SECONDS", 1).gateway("PONG_SECONDS", 2);
    let node = node(&net, plan.fallback(Fallback::Reply(scripted_answer::<40, 50>))).await;
    let mut guests = arrive(&net, &mut ImpairedLink::plain(), &node).await;
    ask(&mut guests, 1).await;

    let (listening, silent) = guests.split_at_mut(PEOPLE / 2);
    let beginnings = listening.iter_mut().map(async |guest| {
        guest.say().await;
        guest.received_deltas(5).await;
    });
    within(TIMEOUT, join_all(beginnings)).await.unwrap();
    net.cut();
    let cut = Instant::now();
    for guest in silent {
        guest.say().await;
    }
    sleep(CUT - cut.elapsed()).await;
    net.join();
    let up = Instant::now();
    let waiting = guests.iter_mut().map(async |guest| {
        guest.answered().await;
        guest.first_event_after(up)
    });
    let waits = within(TIMEOUT, join_all(waiting)).await.unwrap();
    namespace::say(&format!("from link up to going on: {waits:?}"));
    ask(&mut guests, 1).await;
    for guest in guests.iter().step_by(2) {
        assert!(guest.resumed(), "a person at the gateway has not resumed");
    }
    compare(&node, guests).await;
}
