//! SIGTERM in the middle of a conversation.

use protocol::Face;
use serde_json::{Value, json};
use testkit::llm::{Answer, Fallback};
use testkit::peer::{ConnectionEnd, Peer};
use testkit::watchdog::LIMIT;
use tokio::join;
use tokio::time::Instant;

use crate::person::Person;
use crate::program::Program;
use crate::town::Plan;

/// Longer than the answers below take, shorter than the default.
const DRAIN_SECONDS: u64 = 6;

fn slow() -> Answer {
    Answer::chunks(20).paced(0, 30)
}

fn plan() -> Plan {
    Plan::with_gateway().core("DRAIN_SECONDS", DRAIN_SECONDS).fallback(Fallback::Answer(slow()))
}

/// Someone whose answer has begun.
async fn listening<P: Peer>(mut person: Person<P>) -> Person<P> {
    person.hello().await;
    person.say("a", "hola").await;
    assert_eq!(person.frame_of("delta").await["offset"], 0);
    person
}

/// Frames up to the end, and how that came.
async fn rest<P: Peer>(person: &mut Person<P>) -> (Vec<Value>, ConnectionEnd) {
    let mut frames = Vec::new();
    while let Some(line) = person.read().await {
        frames.push(serde_json::from_str(&line).unwrap());
    }
    (frames, person.peer.ending().unwrap())
}

/// The answer came to its end after the notice, and nothing behind it.
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
async fn the_core_lets_answers_end() {
    let mut town = plan().start().await;
    let mut native = listening(town.at_core().await).await;
    let mut browser = listening(town.at_gateway(Face::Frames).await).await;
    // Nothing is under way for these two.
    let mut idle = town.at_gateway(Face::Frames).await;
    idle.hello().await;
    let mut terminal = town.at_core().await;
    terminal.lines(3).await;
    let ((), native, browser, idle, terminal) =
        join!(terminate(&mut town.core), rest(&mut native), rest(&mut browser), rest(&mut idle), terminal.ending(),);
    went_on(&native.0);
    assert_eq!(native.1, ConnectionEnd::Unexplained);
    went_on(&browser.0);
    assert_eq!(browser.1, ConnectionEnd::WebSocket(1001));
    assert_eq!((idle.0.len(), &idle.0[0]["code"], idle.1), (1, &json!("draining"), ConnectionEnd::WebSocket(1001)));
    assert_eq!(terminal, ConnectionEnd::Unexplained);
}

/// Who is still there when the time is over is told why, like everyone else (`proto-line/SPEC.md` §8).
#[tokio::test]
async fn the_core_does_not_wait_for_ever() {
    let answer = Answer::chunks(2).paced(0, 60_000);
    let mut town = Plan::with_gateway().core("DRAIN_SECONDS", "0.3").fallback(Fallback::Answer(answer)).start().await;
    let mut person = listening(town.at_gateway(Face::Frames).await).await;
    let (status, (frames, ending)) = join!(town.core.terminate(), rest(&mut person));
    let logs = town.core.logs().join("\n");
    assert_eq!(status.code(), Some(0), "{logs}");
    assert!(logs.contains("drain timed out"), "{logs}");
    assert_eq!((&frames[0]["type"], &frames[0]["code"]), (&json!("notice"), &json!("draining")), "{frames:?}");
    assert_eq!(ending, ConnectionEnd::WebSocket(1001));
    assert!(logs.contains("connection closed"), "{logs}");
}

#[tokio::test]
async fn the_gateway_says_good_bye() {
    let mut town = plan().start().await;
    let mut program = listening(town.at_gateway(Face::Frames).await).await;
    let mut person = town.at_gateway(Face::Plain).await;
    person.lines(3).await;
    let ((), program, person) = join!(terminate(town.gateway()), rest(&mut program), person.ending());
    assert_eq!(program.1, ConnectionEnd::WebSocket(1001));
    assert_eq!(person, ConnectionEnd::WebSocket(1001));
    // The answer belongs to the session, not to the connection: it goes on.
    town.core.wait_for("turn ended").await;
}
