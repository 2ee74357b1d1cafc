//! A gateway that is slow to say who it speaks for is never taken for what a person says.

use protocol::Face;
use testkit::line_peer::LinePeer;
use testkit::peer::Peer as _;
use tokio::net::TcpStream;

use crate::person::Person;
use crate::town::Plan;

#[tokio::test]
async fn a_header_behind_the_greeting_is_no_message() {
    let town = Plan::default().core("GREET_DELAY_MS", 1).start().await;
    let core = town.core.address();
    let mut person = Person::new(LinePeer::<TcpStream>::connect(core).await.unwrap());
    // It was waited for, and is late.
    person.lines(3).await;
    person.peer.send_hop_header("203.0.113.9:4711".parse().unwrap(), core, Face::Frames).await.unwrap();
    let answered = person.try_send(serde_json::json!({"type": "hello", "v": 1})).await;
    let welcome = answered && person.read().await.is_some_and(|line| line.contains("welcome"));
    assert!(welcome || person.peer.ending().is_some(), "neither heard nor sent away");
    assert_eq!(town.standin.total(), 0);
}
