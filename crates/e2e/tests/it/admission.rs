//! One address against everybody else: whatever it holds, others are served.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use protocol::Face;
use testkit::line_peer::LinePeer;
use testkit::watchdog::{LIMIT, within};
use testkit::ws_peer::WsPeer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::person::Person;
use crate::town::{Plan, Town};

const ATTACKER: &str = "127.0.0.66";
const PERSON: &str = "127.0.0.7";
/// What one address may have, of 100 connections and 228 sockets.
const PER_ADDRESS: usize = 20;
/// More than there are sockets.
const FLOOD: usize = 300;

/// Only the gateway is trusted, and only by the core.
async fn town() -> Town {
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

/// Opens sockets and sends `start` on each. All of them, those that were dropped included.
async fn flood(to: SocketAddr, start: &'static [u8]) -> Vec<TcpStream> {
    let open = (0..FLOOD).map(|_| async move {
        let mut stream = connect_from(ATTACKER, to).await.ok()?;
        let _dropped = stream.write_all(start).await;
        Some(stream)
    });
    join_all(open).await.into_iter().flatten().collect()
}

/// Whether the server has not ended it, whatever it said.
fn is_open(stream: &TcpStream) -> bool {
    loop {
        match stream.try_read(&mut [0; 512]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

/// How many of them the server still holds.
async fn held(streams: &[TcpStream]) -> usize {
    // What the server sends away has ended some time after it was opened.
    let mut count = usize::MAX;
    let settled = within(LIMIT, async {
        loop {
            let now = streams.iter().filter(|stream| is_open(stream)).count();
            if now <= 2 * PER_ADDRESS || now == count {
                return now;
            }
            count = now;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    settled.await.unwrap()
}

async fn a_person_is_served(town: &Town) {
    let gateway = town.gateways[0].address();
    let stream = connect_from(PERSON, gateway).await.unwrap();
    let mut person = Person::new(WsPeer::upgrade(stream, &format!("ws://{gateway}/ws"), Face::Frames).await.unwrap());
    person.hello().await;
    assert_eq!(person.ask("m1", "hola").await.text, "eco: hola");
    let mut person = Person::new(LinePeer::new(connect_from(PERSON, town.core.address()).await.unwrap()));
    person.hello().await;
    assert_eq!(person.ask("m1", "hola").await.text, "eco: hola");
}

#[tokio::test]
async fn sockets_and_handshakes() {
    let town = town().await;
    let (gateway, core) = (town.gateways[0].address(), town.core.address());
    for (to, start) in [
        (gateway, &b""[..]),
        (gateway, b"GET /ws HTTP/1.1\r\nhost: x\r\nx-slow: "),
        (core, b""),
        (core, b"\r\n\r\n\0"),
        (core, b"PROXY TCP4 "),
        (core, b"hola"),
    ] {
        let streams = flood(to, start).await;
        a_person_is_served(&town).await;
        let held = held(&streams).await;
        assert!(held <= 2 * PER_ADDRESS, "{held} of {start:?}");
    }
}

#[tokio::test]
async fn a_header_of_someone_who_is_not_trusted_ends_at_its_first_certain_byte() {
    let town = town().await;
    for start in [&b"\r\n\r\n\0"[..], b"PROXY TCP4 "] {
        let mut stream = connect_from(ATTACKER, town.core.address()).await.unwrap();
        stream.write_all(start).await.unwrap();
        // Long before `HANDSHAKE_SECONDS`, of which the core's clock tells.
        let _reset = within(LIMIT, stream.read_to_end(&mut Vec::new())).await.unwrap();
    }
    town.core.wait_for_times(2, "connection refused in its PROXY header").await;
    let lines = town.core.logs();
    assert!(!lines.iter().any(|line| line.contains("handshake_timeout")), "{lines:?}");
}

#[tokio::test]
async fn upgrades_and_messages() {
    let town = town().await;
    let gateway = town.gateways[0].address();
    let url = format!("ws://{gateway}/ws");
    let mut held = Vec::new();
    for _ in 0..2 * PER_ADDRESS {
        let stream = connect_from(ATTACKER, gateway).await.unwrap();
        held.extend(WsPeer::upgrade(stream, &url, Face::Frames).await.ok().map(Person::new));
    }
    let mut welcomed = 0;
    for person in &mut held {
        let hello = serde_json::json!({"type": "hello", "v": 1});
        welcomed += usize::from(person.try_send(hello).await && person.read().await.is_some());
    }
    assert!(welcomed <= PER_ADDRESS, "{welcomed}");
    a_person_is_served(&town).await;
}

/// A trusted peer may take its time over a header, and cannot keep others out with that.
#[tokio::test]
async fn headers_that_do_not_end() {
    let plan = Plan::with_gateway().core("MAX_CONNECTIONS", 1).core("HANDSHAKE_SECONDS", 600);
    let town = plan.start().await;
    let mut stuck = Vec::new();
    for _ in 0..FLOOD {
        let mut stream = TcpStream::connect(town.core.address()).await.unwrap();
        stream.write_all(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\xc8").await.unwrap();
        stuck.push(stream);
    }
    let mut person = town.at_gateway(Face::Frames).await;
    person.hello().await;
}

#[tokio::test]
async fn who_is_turned_away_reads_why() {
    let town = Plan::default().core("MAX_CONNECTIONS_PER_ADDRESS", 1).start().await;
    let mut first = town.at_core().await;
    first.hello().await;
    // Longer than anything that is read before it is refused.
    let long = [vec![b'x'; 60_000], vec![b'\n']].concat();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(town.core.address()).await.unwrap();
        stream.write_all(&long).await.unwrap();
        let mut answer = String::new();
        within(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(!answer.trim().is_empty(), "lost");
    }
}
