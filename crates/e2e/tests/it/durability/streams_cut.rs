//! 500 answers, each cut at a random byte and completed through another gateway.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use client::{Client, Event, NoticeCode, Role};
use fastrand::Rng;
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use testkit::llm::{Answer, Fallback};
use testkit::watchdog::{LIMIT, within};

use super::client_fleet::ws;
use super::flaky_proxy::{Cut, FlakyProxy};
use super::seeded_rng::seeded_rng;
use crate::single_node::{Plan, SingleNode};

const STREAMS: usize = 500;
/// Concurrent answers.
const MAX_CONCURRENT: usize = 64;
const INITIAL_BACKOFF: Duration = Duration::from_millis(2);
const MAX_BACKOFF: Duration = Duration::from_millis(20);
/// Bytes of an answer per delta.
const PIECE_CHARS: usize = 13;

/// Answer derived from `said`, with characters of one to four bytes and those that JSON
/// escapes.
fn verse(said: &str) -> String {
    (1..=12).map(|line| format!("{line}: «{said}» \"\\ ñandú 心 🌱\n")).collect()
}

fn scripted_answer(_: u64, said: &str) -> Answer {
    let text: Vec<char> = verse(said).chars().collect();
    Answer::pieces(text.chunks(PIECE_CHARS).map(String::from_iter)).paced(1, 1)
}

fn prompt(number: usize) -> String {
    format!("estrofa {number}, por favor")
}

async fn node() -> SingleNode {
    let plan = Plan::default().gateways(2).fallback(Fallback::Reply(scripted_answer));
    plan.core("MAX_IN_FLIGHT", 200)
        .core("MAX_CONNECTIONS_PER_ADDRESS", 2_000)
        .core("RATE_ADDRESS_FACTOR", 1_000)
        .both("CONNECTS_PER_MINUTE_PER_ADDRESS", "1000000")
        .start()
        .await
}

/// Bytes in each direction of an uncut answer: sent, and the minimum received if all deltas are joined.
async fn measured(gateways: &[SocketAddr]) -> (u64, u64) {
    let proxy = FlakyProxy::to(gateways.iter().copied()).await;
    receive_answer(&proxy, &prompt(STREAMS)).await;
    let up = proxy.traffic().up.load(Relaxed);
    // The text alone, without framing, is a lower bound.
    (up, verse(&prompt(STREAMS)).len() as u64)
}

/// Sends a message and receives its answer to the end; asserts that it equals the stored one and returns it.
async fn receive_answer(proxy: &FlakyProxy, prompt: &str) -> String {
    let builder = Client::builder(ws(proxy.address())).backoff(INITIAL_BACKOFF, MAX_BACKOFF).initial_attempts(10);
    let mut client = builder.start();
    let id = client.send(prompt).unwrap();
    let mut received = String::new();
    let seq = loop {
        match client.next_event().await.unwrap() {
            Event::Delta { offset, text, .. } => {
                assert_eq!(offset, received.chars().count());
                received.push_str(text.expose());
            }
            Event::Done(done) => break done.seq.unwrap(),
            Event::Connected(_) | Event::Accepted { .. } | Event::Queued { .. } | Event::Reconnecting { .. } => {}
            Event::Notice { code: NoticeCode::Ai, .. } => {}
            other => panic!("out of place: {other:?}"),
        }
    };
    let stored = client.export(0).await.unwrap().entries;
    let stored: Vec<_> = stored.iter().map(|entry| (entry.seq, &entry.id, entry.role, entry.text.expose())).collect();
    assert_eq!((seq, stored), (2, vec![(1, &id, Role::User, prompt), (2, &id, Role::Assistant, &*received)]));
    received
}

/// One or two cuts; the first lies within the minimum received.
fn cuts(rng: &mut Rng, (up, down): (u64, u64)) -> Vec<Cut> {
    let count = if rng.u8(0..4) == 0 { 2 } else { 1 };
    let mut cut = || if rng.u8(0..6) == 0 { Cut::Up(rng.u64(0..up)) } else { Cut::Down(rng.u64(0..down)) };
    (0..count).map(|_| cut()).collect()
}

#[tokio::test]
async fn cut_stream_resumes_through_another_gateway() {
    let mut rng = seeded_rng("streams_cut");
    let node = node().await;
    let gateways: Vec<_> = node.gateways.iter().map(|gateway| gateway.address()).collect();
    let bytes = measured(&gateways).await;
    let streams = iter(0..STREAMS).map(|number| {
        let (cuts, mut gateways) = (cuts(&mut rng, bytes), gateways.clone());
        gateways.rotate_left(number % 2);
        async move {
            let proxy = FlakyProxy::with_cuts(gateways, &cuts).await;
            let received = within(2 * LIMIT, receive_answer(&proxy, &prompt(number))).await;
            let received = received.unwrap_or_else(|expired| panic!("stream {number} with {cuts:?}: {expired}"));
            assert_eq!(received, verse(&prompt(number)), "stream {number} with {cuts:?}");
            let done = proxy.traffic().cuts.load(Relaxed);
            assert!(1 <= done, "stream {number} was not cut by {cuts:?}");
            assert!(done < proxy.traffic().connections.load(Relaxed));
            done
        }
    });
    let cuts: usize = streams.buffer_unordered(MAX_CONCURRENT).fold(0, async |sum, cuts| sum + cuts).await;
    assert!(STREAMS < cuts, "{cuts}");
    assert_eq!(node.standin.total(), STREAMS as u64 + 1);
}
