//! Admission control: one address must not exhaust the capacity of others.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use protocol::Face;
use testkit::line_peer::LinePeer;
use testkit::watchdog::{LIMIT, within};
use testkit::ws_peer::WsPeer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::single_node::{Plan, SingleNode};
use crate::test_client::TestClient;

const ATTACKER: &str = "127.0.0.66";
const PERSON: &str = "127.0.0.7";
/// Limit of one address, of 100 connections and 228 sockets.
const PER_ADDRESS: usize = 20;
/// More than the total of sockets.
const FLOOD: usize = 300;

/// Settings: the core trusts only the gateway's PROXY headers.
async fn node() -> SingleNode {
    Plan::with_gateway()
        .core("TRUSTED_PROXIES", "127.0.0.1")
        .gateway("TRUSTED_PROXIES", "192.0.2.1")
        .both("MAX_CONNECTIONS", "100")
        .both("MAX_CONNECTIONS_PER_ADDRESS", &PER_ADDRESS.to_string())
        .start()
        .await
}

async fn connect_from(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0))?;
    socket.connect(to).await
}

/// Opens sockets and sends `start` on each; returns all, including dropped ones.
async fn flood(to: SocketAddr, start: &'static [u8]) -> Vec<TcpStream> {
    let open = (0..FLOOD).map(|_| async move {
        let mut stream = connect_from(ATTACKER, to).await.ok()?;
        let _dropped = stream.write_all(start).await;
        Some(stream)
    });
    join_all(open).await.into_iter().flatten().collect()
}

/// True if the server has not closed the socket.
fn is_open(stream: &TcpStream) -> bool {
    loop {
        match stream.try_read(&mut [0; 512]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

/// Waits until the server keeps no more sockets open than it may.
async fn few_are_held(streams: &[TcpStream]) -> bool {
    // Rejected sockets are closed with some delay.
    let settled = within(LIMIT, async {
        while 2 * PER_ADDRESS < streams.iter().filter(|stream| is_open(stream)).count() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    settled.await.is_ok()
}

async fn a_person_is_served(node: &SingleNode) {
    let gateway = node.gateways[0].address();
    let stream = connect_from(PERSON, gateway).await.unwrap();
    let mut person =
        TestClient::new(WsPeer::upgrade(stream, &format!("ws://{gateway}/ws"), Face::Frames).await.unwrap());
    person.hello().await;
    assert_eq!(person.ask("m1", "hola").await.text, "eco: hola");
    let mut person = TestClient::new(LinePeer::new(connect_from(PERSON, node.core.address()).await.unwrap()));
    person.hello().await;
    assert_eq!(person.ask("m1", "hola").await.text, "eco: hola");
}

#[tokio::test]
async fn bounds_sockets_and_handshakes_per_address() {
    let node = node().await;
    let (gateway, core) = (node.gateways[0].address(), node.core.address());
    for (to, start) in [
        (gateway, &b""[..]),
        (gateway, b"GET /ws HTTP/1.1\r\nhost: x\r\nx-slow: "),
        (core, b""),
        (core, b"\r\n\r\n\0"),
        (core, b"PROXY TCP4 "),
        (core, b"hola"),
    ] {
        let streams = flood(to, start).await;
        a_person_is_served(&node).await;
        assert!(few_are_held(&streams).await, "{start:?}");
    }
}

#[tokio::test]
async fn rejects_untrusted_proxy_header_at_its_first_certain_byte() {
    let node = node().await;
    for start in [&b"\r\n\r\n\0"[..], b"PROXY TCP4 "] {
        let mut stream = connect_from(ATTACKER, node.core.address()).await.unwrap();
        stream.write_all(start).await.unwrap();
        // Long before `HANDSHAKE_SECONDS`, by the core's clock.
        let _reset = within(LIMIT, stream.read_to_end(&mut Vec::new())).await.unwrap();
    }
    node.core.wait_for_times(2, "connection rejected because of its PROXY header").await;
    let lines = node.core.logs();
    assert!(!lines.iter().any(|line| line.contains("handshake_timeout")), "{lines:?}");
}

#[tokio::test]
async fn bounds_upgrades_and_messages_per_address() {
    let node = node().await;
    let gateway = node.gateways[0].address();
    let url = format!("ws://{gateway}/ws");
    let mut held = Vec::new();
    for _ in 0..2 * PER_ADDRESS {
        let stream = connect_from(ATTACKER, gateway).await.unwrap();
        held.extend(WsPeer::upgrade(stream, &url, Face::Frames).await.ok().map(TestClient::new));
    }
    let mut welcomed = 0;
    for person in &mut held {
        let hello = serde_json::json!({"type": "hello", "v": 1});
        welcomed += usize::from(person.try_send(hello).await && person.read().await.is_some());
    }
    assert!(welcomed <= PER_ADDRESS, "{welcomed}");
    a_person_is_served(&node).await;
}

/// Slow headers of a trusted peer are allowed, but must not block others.
#[tokio::test]
async fn closes_unfinished_headers() {
    let plan = Plan::with_gateway().core("MAX_CONNECTIONS", 1).core("HANDSHAKE_SECONDS", 600);
    let node = plan.start().await;
    let mut stuck = Vec::new();
    for _ in 0..FLOOD {
        let mut stream = TcpStream::connect(node.core.address()).await.unwrap();
        stream.write_all(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\xc8").await.unwrap();
        stuck.push(stream);
    }
    let mut person = node.at_gateway(Face::Frames).await;
    person.hello().await;
}

#[tokio::test]
async fn rejected_connection_gets_a_reason() {
    let node = Plan::default().core("MAX_CONNECTIONS_PER_ADDRESS", 1).start().await;
    let mut first = node.at_core().await;
    first.hello().await;
    // Longer than any prefix read before the rejection.
    let long = [vec![b'x'; 60_000], vec![b'\n']].concat();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(node.core.address()).await.unwrap();
        stream.write_all(&long).await.unwrap();
        let mut answer = String::new();
        within(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(!answer.trim().is_empty(), "lost");
    }
}
