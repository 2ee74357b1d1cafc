//! Conversations over `POST /lines`, through the balancer and any of the gateways.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::http_peer::HttpPeer;
use testkit::peer::{ConnectionEnd, Peer as _};
use testkit::watchdog::{LIMIT, within};

use crate::single_node::Plan;

/// Reads frames until one of type `wanted`.
async fn until(peer: &mut HttpPeer, wanted: &str) -> Value {
    let read = async {
        while let Some(line) = peer.next_line().await.unwrap() {
            let frame: Value = serde_json::from_str(&line).unwrap();
            if frame["type"] == wanted {
                return frame;
            }
        }
        panic!("{wanted} does not come: {:?}", peer.ending());
    };
    within(LIMIT, read).await.unwrap()
}

async fn hello(address: SocketAddr, resume: &Value) -> (HttpPeer, Value) {
    let mut peer = HttpPeer::connect(address).await.unwrap();
    peer.send_line(&json!({"type": "hello", "v": 1, "resume": resume, "since": 0}).to_string()).await.unwrap();
    let welcome = until(&mut peer, "welcome").await;
    (peer, welcome)
}

/// Sends one message in an exchange of its own, and returns the resume token for the next one.
async fn ask(address: SocketAddr, resume: &Value, id: &str) -> Value {
    let (mut peer, welcome) = hello(address, resume).await;
    assert_eq!(welcome["resumed"], !resume.is_null(), "{welcome}");
    peer.send_line(&json!({"type": "message", "id": id, "text": format!("hola {id}")}).to_string()).await.unwrap();
    // The end of the body: the answer still comes.
    peer.half_close().await.unwrap();
    assert_eq!(until(&mut peer, "done").await["id"], id);
    assert_eq!(within(LIMIT, peer.next_line()).await.unwrap().unwrap(), None);
    assert!(matches!(peer.ending(), Some(ConnectionEnd::Reason(_))), "{:?}", peer.ending());
    welcome["resume"].clone()
}

#[tokio::test]
async fn batches_and_events_meet_in_one_conversation() {
    let (mut node, haproxy) = super::balanced(Plan::default()).await;
    let address = haproxy.address();
    join_all((0..6).map(async |_| {
        let resume = ask(address, &Value::Null, "m1").await;
        // A connection for events, and messages beside it, each perhaps through another gateway.
        let (mut events, welcome) = hello(address, &resume).await;
        assert_eq!(welcome["seq"], 2, "{welcome}");
        ask(address, &resume, "m2").await;
        assert_eq!(until(&mut events, "done").await["id"], "m2");
    }))
    .await;
    for gateway in &mut node.gateways {
        gateway.terminate().await;
    }
    let used: BTreeSet<bool> =
        node.gateways.iter().map(|gateway| !super::addresses(&gateway.logs()).is_empty()).collect();
    assert_eq!(used, BTreeSet::from([true]), "each gateway carried something");
}
