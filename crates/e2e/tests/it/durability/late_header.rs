//! A gateway that is slow to say who it speaks for: its person is neither lost nor taken for somebody else,
//! and the header is never taken for what a person says.

use protocol::Face;
use serde_json::json;
use testkit::line_peer::LinePeer;
use testkit::peer::ConnectionEnd;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::person::Person;
use crate::town::{Plan, Town};

const SOMEONE: &str = "203.0.113.9:4711";

/// Someone who was greeted because their gateway had not said a thing.
async fn greeted(town: &Town) -> Person<LinePeer<TcpStream>> {
    let mut person = town.at_core().await;
    let lines = person.lines(3).await;
    assert!(lines[0].starts_with("Usuario-"), "{lines:?}");
    person
}

async fn impatient() -> Town {
    Plan::default().core("GREET_DELAY_MS", 1).start().await
}

/// A line of the log that shows that the core knows where the person is.
fn shows_home(line: &str) -> bool {
    line.contains("connection opened") && line.contains("\"203.0.113.9\"")
}

#[tokio::test]
async fn frames_behind_the_greeting() {
    let town = impatient().await;
    let mut person = greeted(&town).await;
    person.peer.send_hop_header(SOMEONE.parse().unwrap(), town.core.address(), Face::Frames).await.unwrap();
    person.hello().await;
    assert_eq!(person.ask("m", "hola").await.text, "eco: hola");
    town.core.wait_for_line(shows_home).await;
    assert_eq!(town.standin.total(), 1);
    person.send(json!({"type": "bye"})).await;
    assert!(matches!(person.ending().await, ConnectionEnd::Reason(protocol::CloseReason::Bye)));
}

#[tokio::test]
async fn lines_behind_the_greeting() {
    let town = impatient().await;
    let mut person = greeted(&town).await;
    person.peer.send_hop_header(SOMEONE.parse().unwrap(), town.core.address(), Face::Plain).await.unwrap();
    person.write("hola").await;
    // They were greeted; it is the same conversation.
    assert_eq!(person.line().await, "eco: hola");
    person.write("¿seguís ahí?").await;
    assert_eq!(person.line().await, "eco: ¿seguís ahí?");
    town.core.wait_for_line(shows_home).await;
}

#[tokio::test]
async fn a_header_without_a_face_behind_the_greeting() {
    let town = impatient().await;
    let mut stream = TcpStream::connect(town.core.address()).await.unwrap();
    town.core.wait_for("session opened").await;
    stream.write_all(b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 5001\r\n").await.unwrap();
    let mut person = Person::new(LinePeer::new(stream));
    person.lines(3).await;
    person.write("hola").await;
    assert_eq!(person.line().await, "eco: hola");
    town.core.wait_for_line(shows_home).await;
}

#[tokio::test]
async fn not_from_a_stranger() {
    let mut town = Plan::default().core("GREET_DELAY_MS", 1).core("TRUSTED_PROXIES", "203.0.113.0/24").start().await;
    let mut person = greeted(&town).await;
    person.peer.send_hop_header(SOMEONE.parse().unwrap(), town.core.address(), Face::Frames).await.unwrap();
    person.try_send(json!({"type": "hello", "v": 1})).await;
    assert_eq!(person.read().await, None);
    // Only then is its log whole.
    town.core.terminate().await;
    assert!(!town.core.logs().iter().any(|line| shows_home(line)), "{:?}", town.core.logs());
}
