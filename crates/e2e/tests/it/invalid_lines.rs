//! Every line of `proto-line/vectors/invalid.jsonl` against a running core: each gets its error,
//! and the connection stays open.

use std::path::Path;

use serde_json::{Value, json};
use testkit::line_peer::LinePeer;
use testkit::peer::Peer as _;
use testkit::watchdog::{LIMIT, within};
use tokio::net::TcpStream;

use crate::single_node::{Plan, SingleNode};

/// Lower bound: a moved file must fail the run, not pass without vectors.
const MIN_VECTORS: usize = 60;

fn vectors() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto-line/vectors/invalid.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Bytes of a vector: literal, hexadecimal, or a repetition.
fn bytes(vector: &Value) -> Vec<u8> {
    let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(line) = vector["line"].as_str() {
        return line.into();
    }
    if let Some(hex) = vector["line_hex"].as_str() {
        let digits = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
        return digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    }
    let repeat = &vector["repeat"];
    let times = usize::try_from(repeat["times"].as_u64().unwrap()).unwrap();
    [part(&repeat["prefix"]), part(&repeat["unit"]).repeat(times), part(&repeat["suffix"])].concat().into()
}

async fn frame(peer: &mut LinePeer<TcpStream>) -> Value {
    let line = within(LIMIT, peer.next_line()).await.unwrap().unwrap().expect("a line, not the end");
    serde_json::from_str(&line).unwrap()
}

async fn check(node: &SingleNode, vector: &Value) {
    let name = &vector["name"];
    let mut peer = LinePeer::connect(node.core.address()).await.unwrap();
    let before_hello = vector["before_hello"] == json!(true);
    if !before_hello {
        peer.send_line(r#"{"type":"hello","v":1}"#).await.unwrap();
        assert_eq!(frame(&mut peer).await["type"], "welcome", "{name}");
        assert_eq!(frame(&mut peer).await["code"], "ai", "{name}");
    }
    peer.send_bytes(&[&bytes(vector)[..], b"\n"].concat()).await.unwrap();
    let error = frame(&mut peer).await;
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &vector["error"]), "{name}: {error}");
    if vector["error"] == "version_unsupported" {
        assert_eq!(within(LIMIT, peer.next_line()).await.unwrap().unwrap(), None, "{name}: it closes");
        return;
    }
    peer.send_line(r#"{"type":"ping","id":"on"}"#).await.unwrap();
    let next = frame(&mut peer).await;
    let goes_on = if before_hello { next["code"] == "hello_required" } else { next["type"] == "pong" };
    assert!(goes_on && next["id"] == "on", "{name}: {next}");
}

#[tokio::test]
async fn each_invalid_line_gets_its_error_and_keeps_the_connection() {
    let node = Plan::default().start().await;
    let vectors = vectors();
    assert!(MIN_VECTORS <= vectors.len(), "found only {} vectors", vectors.len());
    for vector in &vectors {
        check(&node, vector).await;
    }
}
