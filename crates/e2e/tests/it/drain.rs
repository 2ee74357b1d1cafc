//! SIGTERM mid-conversation.

use protocol::Face;
use serde_json::{Value, json};
use testkit::llm::{Answer, Fallback};
use testkit::peer::{ConnectionEnd, Peer};
use testkit::watchdog::LIMIT;
use tokio::join;
use tokio::time::Instant;

use crate::program::Program;
use crate::single_node::Plan;
use crate::test_client::TestClient;

/// Longer than the answers below, shorter than the default.
const DRAIN_SECONDS: u64 = 6;

fn slow() -> Answer {
    Answer::chunks(20).paced(0, 30)
}

fn plan() -> Plan {
    Plan::with_gateway().core("DRAIN_SECONDS", DRAIN_SECONDS).fallback(Fallback::Answer(slow()))
}

/// Client whose answer is streaming.
async fn listening<P: Peer>(mut person: TestClient<P>) -> TestClient<P> {
    person.hello().await;
    person.say("a", "hola").await;
    assert_eq!(person.frame_of("delta").await["offset"], 0);
    person
}

/// Frames up to the end of the connection, and its kind.
async fn rest<P: Peer>(person: &mut TestClient<P>) -> (Vec<Value>, ConnectionEnd) {
    let mut frames = Vec::new();
    while let Some(line) = person.read().await {
        frames.push(serde_json::from_str(&line).unwrap());
    }
    (frames, person.peer.ending().unwrap())
}

/// Asserts that the answer completed after the notice and was the last frame.
fn went_on(frames: &[Value]) {
    let notice = frames.iter().find(|frame| frame["type"] == "notice").unwrap();
    assert_eq!(notice["code"], "draining");
    assert!(notice["reconnect_in_ms"].is_u64(), "{notice}");
    let done = frames.last().unwrap();
    let length = slow().pieces.concat().chars().count();
    assert_eq!(
        (&done["type"], &done["finish"], &done["chars"]),
        (&json!("done"), &json!("stop"), &json!(length)),
        "{frames:?}"
    );
    assert!(frames.iter().filter(|frame| frame["type"] == "delta").count() > 2, "{frames:?}");
}

async fn terminate(program: &mut Program) {
    let begin = Instant::now();
    let status = program.terminate().await;
    let (taken, logs) = (begin.elapsed(), program.logs().join("\n"));
    assert_eq!(status.code(), Some(0), "{logs}");
    assert!(taken.as_secs() < DRAIN_SECONDS && taken < LIMIT, "{taken:?}\n{logs}");
    for message in ["draining", "stopped"] {
        assert!(logs.contains(&format!("\"message\":\"{message}\"")), "{logs}");
    }
    assert!(!logs.contains("drain timed out"), "{logs}");
}

#[tokio::test]
async fn core_drain_finishes_answers() {
    let mut node = plan().start().await;
    let mut native = listening(node.at_core().await).await;
    let mut browser = listening(node.at_gateway(Face::Frames).await).await;
    // These two connections are idle.
    let mut idle = node.at_gateway(Face::Frames).await;
    idle.hello().await;
    let mut terminal = node.at_core().await;
    terminal.lines(3).await;
    let ((), native, browser, idle, terminal) =
        join!(terminate(&mut node.core), rest(&mut native), rest(&mut browser), rest(&mut idle), terminal.ending(),);
    went_on(&native.0);
    assert_eq!(native.1, ConnectionEnd::Unexplained);
    went_on(&browser.0);
    assert_eq!(browser.1, ConnectionEnd::WebSocket(1001));
    assert_eq!((idle.0.len(), &idle.0[0]["code"], idle.1), (1, &json!("draining"), ConnectionEnd::WebSocket(1001)));
    assert_eq!(terminal, ConnectionEnd::Unexplained);
}

/// A connection left at the drain timeout gets a reason too (`proto-line/SPEC.md` §8).
#[tokio::test]
async fn core_drain_times_out() {
    let answer = Answer::chunks(2).paced(0, 60_000);
    let mut node = Plan::with_gateway().core("DRAIN_SECONDS", "0.3").fallback(Fallback::Answer(answer)).start().await;
    let mut person = listening(node.at_gateway(Face::Frames).await).await;
    let (status, (frames, ending)) = join!(node.core.terminate(), rest(&mut person));
    let logs = node.core.logs().join("\n");
    assert_eq!(status.code(), Some(0), "{logs}");
    assert!(logs.contains("drain timed out"), "{logs}");
    assert_eq!((&frames[0]["type"], &frames[0]["code"]), (&json!("notice"), &json!("draining")), "{frames:?}");
    assert_eq!(ending, ConnectionEnd::WebSocket(1001));
    assert!(logs.contains("connection closed"), "{logs}");
}

#[tokio::test]
async fn gateway_drain_sends_close() {
    let mut node = plan().start().await;
    let mut program = listening(node.at_gateway(Face::Frames).await).await;
    let mut person = node.at_gateway(Face::Plain).await;
    person.lines(3).await;
    let ((), program, person) = join!(terminate(node.gateway()), rest(&mut program), person.ending());
    assert_eq!(program.1, ConnectionEnd::WebSocket(1001));
    assert_eq!(person, ConnectionEnd::WebSocket(1001));
    // The answer belongs to the session, not to the connection: it continues.
    node.core.wait_for("turn ended").await;
}
