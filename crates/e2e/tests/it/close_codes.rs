//! WebSocket close codes (`proto-line/SPEC.md` §6).

use protocol::Face;
use protocol::limits::MAX_LINE_BYTES;
use serde_json::json;
use testkit::peer::ConnectionEnd;
use testkit::ws_peer::WsPeer;
use tokio::net::TcpSocket;

use crate::http;
use crate::program::{Kind, Program};
use crate::single_node::{Plan, SingleNode};
use crate::test_client::TestClient;

async fn welcomed(node: &SingleNode) -> TestClient<WsPeer> {
    let mut person = node.at_gateway(Face::Frames).await;
    person.hello().await;
    person
}

#[tokio::test]
async fn bye_closes_both_faces_normally() {
    let node = Plan::with_gateway().start().await;
    let mut program = welcomed(&node).await;
    program.send(json!({"type": "bye"})).await;
    assert_eq!(program.ending().await, ConnectionEnd::WebSocket(1000));
    let mut person = node.at_gateway(Face::Plain).await;
    person.write("salir").await;
    assert_eq!(person.lines(4).await.pop().unwrap(), "Gracias por hablar conmigo. Cuidate mucho.");
    assert_eq!(person.ending().await, ConnectionEnd::WebSocket(1000));
}

#[tokio::test]
async fn erase_closes_other_connections() {
    let node = Plan::with_gateway().start().await;
    let mut first = node.at_gateway(Face::Frames).await;
    let welcome = first.hello().await;
    let mut second = node.at_gateway(Face::Frames).await;
    second.send(json!({"type": "hello", "v": 1, "resume": welcome["resume"]})).await;
    assert_eq!(second.frame_of("welcome").await["session"], welcome["session"]);
    second
        .send(json!({"type": "request", "id": "r", "method": "erase", "params": {"confirm": welcome["session"]}}))
        .await;
    assert_eq!(second.frame_of("response").await["result"], json!({"erased": 0}));
    assert_eq!(first.ending().await, ConnectionEnd::WebSocket(1000));
    // The requesting connection stays open and may start a new session.
    assert_ne!(second.hello().await["session"], welcome["session"]);
}

#[tokio::test]
async fn closes_idle_connections() {
    let node = Plan::with_gateway().core("IDLE_SECONDS", 1).start().await;
    let mut program = welcomed(&node).await;
    let mut person = node.at_gateway(Face::Plain).await;
    assert_eq!(program.ending().await, ConnectionEnd::WebSocket(4009));
    assert_eq!(person.ending().await, ConnectionEnd::WebSocket(4009));
}

#[tokio::test]
async fn closes_without_hello() {
    let node = Plan::with_gateway().core("HANDSHAKE_SECONDS", "0.2").start().await;
    assert_eq!(node.at_gateway(Face::Frames).await.ending().await, ConnectionEnd::WebSocket(4010));
}

#[tokio::test]
async fn rejects_unknown_version() {
    let node = Plan::with_gateway().start().await;
    let mut program = node.at_gateway(Face::Frames).await;
    program.send(json!({"type": "hello", "v": 2})).await;
    assert_eq!(program.frame().await["code"], "version_unsupported");
    assert_eq!(program.ending().await, ConnectionEnd::WebSocket(1008));
}

#[tokio::test]
async fn rejects_oversized_message() {
    let node = Plan::with_gateway().start().await;
    let mut program = welcomed(&node).await;
    program.write(&"x".repeat(MAX_LINE_BYTES + 1)).await;
    assert_eq!(program.ending().await, ConnectionEnd::WebSocket(1009));
}

#[tokio::test]
async fn rejects_connections_beyond_the_limit() {
    let node = Plan::with_gateway().core("MAX_CONNECTIONS", 1).start().await;
    let _first = welcomed(&node).await;
    assert_eq!(node.at_gateway(Face::Frames).await.ending().await, ConnectionEnd::WebSocket(1013));
    let node = Plan::with_gateway().gateway("MAX_CONNECTIONS", 1).start().await;
    let _first = welcomed(&node).await;
    assert_eq!(node.at_gateway(Face::Frames).await.ending().await, ConnectionEnd::WebSocket(1013));
}

#[tokio::test]
async fn reports_an_unreachable_core() {
    // Bound but not listening: reserved, and connections are refused.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let settings = [("WS_PORT", "0".to_owned()), ("TCP_PORT", port)];
    let gateway = Program::start(Kind::Gateway, folder.path(), &settings).await;
    let mut person = TestClient::new(WsPeer::connect(gateway.address(), Face::Frames).await.unwrap());
    assert_eq!(person.ending().await, ConnectionEnd::WebSocket(1013));
}

#[tokio::test]
async fn reports_a_dead_core() {
    let mut node = Plan::with_gateway().start().await;
    let mut program = welcomed(&node).await;
    node.core.kill().await;
    assert_eq!(program.ending().await, ConnectionEnd::WebSocket(1012));
}

#[tokio::test]
async fn rejects_foreign_origins() {
    let node = Plan::with_gateway().start().await;
    let gateway = node.gateways[0].address();
    let upgrade = |origin: String| {
        format!(
            "Origin: {origin}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        )
    };
    assert_eq!(http::status(gateway, "/ws", &upgrade("https://example.org".to_owned())).await.unwrap(), 403);
    assert_eq!(http::status(gateway, "/ws", &upgrade(format!("http://{gateway}"))).await.unwrap(), 101);
}
