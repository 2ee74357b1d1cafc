//! Slowloris clients: they are disconnected and do not affect others.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{join, join_all};
use protocol::Face;
use testkit::watchdog::{LIMIT, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::interval;

use crate::single_node::{Plan, SingleNode};

/// Shorter than the slow handshakes below, longer than an answer.
const HANDSHAKE_SECONDS: &str = "1";
const PAUSE: Duration = Duration::from_millis(25);
/// At one byte per pause, longer than a test may last.
const BYTES: usize = 10_000;
const DRIPPERS: usize = 20;

/// Sends `start` at once, then single bytes until the server disconnects; returns the response.
async fn drip(address: SocketAddr, start: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(start).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let mut answer = Vec::new();
    let ended = within(LIMIT, async {
        let dripping = async {
            let mut pauses = interval(PAUSE);
            for _ in 0..BYTES {
                pauses.tick().await;
                if writing.write_all(b"x").await.is_err() {
                    break;
                }
            }
        };
        let end = async {
            // A reset counts as a disconnect.
            let _reset = reading.read_to_end(&mut answer).await;
        };
        tokio::select! {
            () = dripping => {}
            () = end => {}
        }
    });
    ended.await.unwrap_or_else(|expired| panic!("it goes on and on: {expired}"));
    answer
}

/// Well-behaved client during the attack.
async fn talks(node: &SingleNode) {
    let mut person = node.at_gateway(Face::Frames).await;
    person.hello().await;
    for number in 0..5 {
        let text = format!("mensaje {number}");
        assert_eq!(person.ask(&format!("m{number}"), &text).await.text, format!("eco: {text}"));
    }
}

#[tokio::test]
async fn closes_slow_upgrades() {
    let plan = Plan::with_gateway().gateway("HANDSHAKE_SECONDS", HANDSHAKE_SECONDS);
    let node = plan.start().await;
    let gateway = node.gateways[0].address();
    let dripping = join_all((0..DRIPPERS).map(|_| drip(gateway, b"GET /ws HTTP/1.1\r\nhost: x\r\nx-slow: ")));
    let (answers, ()) = join(dripping, talks(&node)).await;
    for answer in answers {
        assert!(!answer.starts_with(b"HTTP/1.1 101"), "{}", answer.escape_ascii());
    }
}

/// Signature of a PROXY v2 header and its next four bytes, which announce 200 more.
#[tokio::test]
async fn closes_slow_proxy_headers() {
    let node = Plan::with_gateway().core("HANDSHAKE_SECONDS", HANDSHAKE_SECONDS).start().await;
    let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\xc8";
    let dripping = join_all((0..DRIPPERS).map(|_| drip(node.core.address(), start)));
    let (answers, ()) = join(dripping, talks(&node)).await;
    assert!(answers.iter().all(Vec::is_empty), "{answers:?}");
    node.core.wait_for_times(DRIPPERS, "connection rejected because of its PROXY header").await;
    let logs = node.core.logs();
    assert_eq!(logs.iter().filter(|line| line.contains("handshake_timeout")).count(), DRIPPERS, "{logs:?}");
}
