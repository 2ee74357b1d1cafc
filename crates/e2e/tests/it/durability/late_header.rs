//! PROXY header that arrives after the preamble timeout: the client's connection and address are kept,
//! and the header is never taken for a message.

use protocol::Face;
use serde_json::json;
use testkit::line_peer::LinePeer;
use testkit::peer::ConnectionEnd;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::single_node::{Plan, SingleNode};
use crate::test_client::TestClient;

const SOMEONE: &str = "203.0.113.9:4711";

/// Connection that got the plain greeting because its PROXY header was late.
async fn greeted(node: &SingleNode) -> TestClient<LinePeer<TcpStream>> {
    let mut person = node.at_core().await;
    let lines = person.lines(3).await;
    assert!(lines[0].starts_with("Usuario-"), "{lines:?}");
    person
}

async fn impatient() -> SingleNode {
    Plan::default().core("GREET_DELAY_MS", 1).start().await
}

/// True for a log line with the client's address from the header.
fn shows_home(line: &str) -> bool {
    line.contains("connection opened") && line.contains("\"203.0.113.9\"")
}

#[tokio::test]
async fn accepts_late_header_with_frames() {
    let node = impatient().await;
    let mut person = greeted(&node).await;
    person.peer.send_hop_header(SOMEONE.parse().unwrap(), node.core.address(), Face::Frames).await.unwrap();
    person.hello().await;
    assert_eq!(person.ask("m", "hola").await.text, "eco: hola");
    node.core.wait_for_line(shows_home).await;
    assert_eq!(node.standin.total(), 1);
    person.send(json!({"type": "bye"})).await;
    assert!(matches!(person.ending().await, ConnectionEnd::Reason(protocol::CloseReason::Bye)));
}

#[tokio::test]
async fn accepts_late_header_with_plain_lines() {
    let node = impatient().await;
    let mut person = greeted(&node).await;
    person.peer.send_hop_header(SOMEONE.parse().unwrap(), node.core.address(), Face::Plain).await.unwrap();
    person.write("hola").await;
    // The conversation continues after the greeting.
    assert_eq!(person.line().await, "eco: hola");
    person.write("¿seguís ahí?").await;
    assert_eq!(person.line().await, "eco: ¿seguís ahí?");
    node.core.wait_for_line(shows_home).await;
}

#[tokio::test]
async fn accepts_late_header_without_a_face() {
    let node = impatient().await;
    let mut stream = TcpStream::connect(node.core.address()).await.unwrap();
    node.core.wait_for("session opened").await;
    stream.write_all(b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 5001\r\n").await.unwrap();
    let mut person = TestClient::new(LinePeer::new(stream));
    person.lines(3).await;
    person.write("hola").await;
    assert_eq!(person.line().await, "eco: hola");
    node.core.wait_for_line(shows_home).await;
}

#[tokio::test]
async fn rejects_late_header_of_untrusted_peer() {
    let mut node = Plan::default().core("GREET_DELAY_MS", 1).core("TRUSTED_PROXIES", "203.0.113.0/24").start().await;
    let mut person = greeted(&node).await;
    person.peer.send_hop_header(SOMEONE.parse().unwrap(), node.core.address(), Face::Frames).await.unwrap();
    person.try_send(json!({"type": "hello", "v": 1})).await;
    assert_eq!(person.read().await, None);
    // Its log is complete only after the exit.
    node.core.terminate().await;
    assert!(!node.core.logs().iter().any(|line| shows_home(line)), "{:?}", node.core.logs());
}
