//! Clients that begin and do not come to the point, one byte at a time: they end, and cost nobody else.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{join, join_all};
use protocol::Face;
use testkit::watchdog::{LIMIT, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::interval;

use crate::town::{Plan, Town};

/// Short beside what the bytes below take, long beside what an answer takes.
const HANDSHAKE_SECONDS: &str = "1";
const PAUSE: Duration = Duration::from_millis(25);
/// At one byte a pause: longer than a test may last.
const BYTES: usize = 10_000;
const DRIPPERS: usize = 20;

/// Sends `start` at once and then byte after byte until the server has enough of it; says what came back.
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
            // A reset is an end too.
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

/// Someone who talks while others drip.
async fn talks(town: &Town) {
    let mut person = town.at_gateway(Face::Frames).await;
    person.hello().await;
    for number in 0..5 {
        let text = format!("mensaje {number}");
        assert_eq!(person.ask(&format!("m{number}"), &text).await.text, format!("eco: {text}"));
    }
}

#[tokio::test]
async fn upgrades() {
    let plan = Plan::with_gateway().gateway("HANDSHAKE_SECONDS", HANDSHAKE_SECONDS);
    let town = plan.start().await;
    let gateway = town.gateways[0].address();
    let dripping = join_all((0..DRIPPERS).map(|_| drip(gateway, b"GET /ws HTTP/1.1\r\nhost: x\r\nx-slow: ")));
    let (answers, ()) = join(dripping, talks(&town)).await;
    for answer in answers {
        assert!(!answer.starts_with(b"HTTP/1.1 101"), "{}", answer.escape_ascii());
    }
}

/// The header's signature and its first four bytes, which announce 200 more.
#[tokio::test]
async fn proxy_headers() {
    let town = Plan::with_gateway().core("HANDSHAKE_SECONDS", HANDSHAKE_SECONDS).start().await;
    let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\xc8";
    let dripping = join_all((0..DRIPPERS).map(|_| drip(town.core.address(), start)));
    let (answers, ()) = join(dripping, talks(&town)).await;
    assert!(answers.iter().all(Vec::is_empty), "{answers:?}");
    town.core.wait_for_times(DRIPPERS, "connection refused in its PROXY header").await;
    let logs = town.core.logs();
    assert_eq!(logs.iter().filter(|line| line.contains("handshake_timeout")).count(), DRIPPERS, "{logs:?}");
}
