//! PROXY header that arrives after the greeting delay: the connection ends, and a gateway reconnects once. The header
//! is never taken for a message.

use std::net::SocketAddr;

use protocol::{CloseReason, Face};
use serde_json::json;
use tempfile::TempDir;
use testkit::line_peer::LinePeer;
use testkit::peer::ConnectionEnd;
use testkit::ws_peer::WsPeer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::program::{Kind, Program};
use crate::single_node::{Plan, SingleNode};
use crate::test_client::TestClient;

const SOMEONE: &str = "203.0.113.9:4711";
const RECONNECTING: &str = "late PROXY header; reconnecting to a core";

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

fn closed_for(reason: CloseReason) -> impl Fn(&str) -> bool {
    let reason = format!("\"{reason}\"");
    move |line| line.contains("connection closed") && line.contains(&reason)
}

#[tokio::test]
async fn closes_after_late_header_with_its_reason() {
    let mut node = impatient().await;
    for face in [Face::Frames, Face::Plain] {
        let mut person = greeted(&node).await;
        person.peer.send_hop_header(SOMEONE.parse().unwrap(), node.core.address(), face).await.unwrap();
        person.try_send(json!({"type": "message", "id": "m", "text": "hola"})).await;
        assert_eq!(person.ending().await, ConnectionEnd::Reason(CloseReason::LateHeader));
    }
    // No gateway: without the closing line.
    let mut stream = TcpStream::connect(node.core.address()).await.unwrap();
    node.core.wait_for_times(3, "session opened").await;
    stream.write_all(b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 5001\r\nhola\r\n").await.unwrap();
    let mut person = TestClient::new(LinePeer::new(stream));
    person.lines(3).await;
    assert_eq!(person.read().await, None);
    node.core.terminate().await;
    let logs = node.core.logs();
    assert_eq!(logs.iter().filter(|line| closed_for(CloseReason::LateHeader)(line)).count(), 3, "{logs:?}");
    assert!(!logs.iter().any(|line| shows_home(line)), "{logs:?}");
    assert_eq!(node.standin.total(), 0, "nothing behind a late header is a message");
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
    assert!(node.core.logs().iter().any(|line| closed_for(CloseReason::Unauthorized)(line)), "{:?}", node.core.logs());
}

/// A defect of a proxy must not look like a slow one.
#[tokio::test]
async fn malformed_header_has_its_own_reason() {
    let node = Plan::default().start().await;
    let mut stream = TcpStream::connect(node.core.address()).await.unwrap();
    stream.write_all(b"PROXY TCP4 nowhere\r\n").await.unwrap();
    let _reset = stream.read_to_end(&mut Vec::new()).await;
    let is_rejection = |line: &str| line.contains("connection rejected") && line.contains("\"bad_header\"");
    node.core.wait_for_line(is_rejection).await;
}

/// TCP relay that delivers the PROXY headers of its first connections after the core's greeting.
struct LateHeaders {
    address: SocketAddr,
    _stop: DropGuard,
}

impl LateHeaders {
    async fn start(core: SocketAddr, late: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let relayed = tasks.clone();
        let accept = async move {
            for number in 0.. {
                let (gateway, _) = listener.accept().await.unwrap();
                relayed.spawn(relay(gateway, core, number < late));
            }
        };
        tasks.spawn(stop.clone().run_until_cancelled_owned(accept));
        Self { address, _stop: stop.drop_guard() }
    }
}

async fn relay(mut gateway: TcpStream, core: SocketAddr, is_late: bool) {
    let mut bytes = [0; 4_096];
    // Connects once the header is here, so that it is late on purpose only.
    let header = gateway.read(&mut bytes).await.unwrap();
    let header = bytes[..header].to_vec();
    let mut core = TcpStream::connect(core).await.unwrap();
    if is_late {
        let greeting = core.read(&mut bytes).await.unwrap();
        gateway.write_all(&bytes[..greeting]).await.unwrap();
    }
    core.write_all(&header).await.unwrap();
    // Ends with either side.
    let _reset = copy_bidirectional(&mut gateway, &mut core).await;
}

/// Core, the relay, and a gateway behind it.
async fn behind_late_headers(late: usize) -> (SingleNode, LateHeaders, Program, TempDir) {
    let node = Plan::default().core("GREET_DELAY_MS", 300).start().await;
    let relay = LateHeaders::start(node.core.address(), late).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = [("WS_PORT", "0".to_owned()), ("TCP_PORT", relay.address.port().to_string())];
    let gateway = Program::start(Kind::Gateway, folder.path(), &settings).await;
    (node, relay, gateway, folder)
}

#[tokio::test]
async fn gateway_reconnects_once_and_the_client_notices_nothing() {
    let (node, _relay, gateway, _folder) = behind_late_headers(1).await;
    let mut person = TestClient::new(WsPeer::connect(gateway.address(), Face::Frames).await.unwrap());
    person.send(json!({"type": "hello", "v": 1})).await;
    assert_eq!(person.frame().await["type"], "welcome", "nothing of the first connection");
    assert_eq!(person.ask("m", "hola").await.text, "eco: hola");
    assert_eq!((gateway.said(RECONNECTING), node.standin.total()), (1, 1));
    node.core.wait_for_line(closed_for(CloseReason::LateHeader)).await;
}

#[tokio::test]
async fn second_late_header_reaches_the_client() {
    let (_node, _relay, gateway, _folder) = behind_late_headers(usize::MAX).await;
    let mut person = TestClient::new(WsPeer::connect(gateway.address(), Face::Frames).await.unwrap());
    person.send(json!({"type": "hello", "v": 1})).await;
    assert_eq!(person.read().await, None);
    assert_eq!(person.ending().await, ConnectionEnd::WebSocket(4010));
    assert_eq!(gateway.said(RECONNECTING), 1);
}
