//! 500 answers, each cut off at a random byte and heard to its end through another gateway.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use client::{Client, Event, NoticeCode, Role};
use fastrand::Rng;
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use testkit::llm::{Answer, Fallback};
use testkit::watchdog::{LIMIT, within};

use super::chance::chance;
use super::crowd::ws;
use super::road::{Cut, Road};
use crate::town::{Plan, Town};

const STREAMS: usize = 500;
/// How many of them at the same time.
const AT_ONCE: usize = 64;
const FIRST_WAIT: Duration = Duration::from_millis(2);
const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// Bytes of an answer in one piece.
const PIECE_CHARS: usize = 13;

/// What the model says to `said`, and to nothing else: characters of one to four bytes, and
/// those that JSON escapes.
fn verse(said: &str) -> String {
    (1..=12).map(|line| format!("{line}: «{said}» \"\\ ñandú 心 🌱\n")).collect()
}

fn recite(_: u64, said: &str) -> Answer {
    let text: Vec<char> = verse(said).chars().collect();
    Answer::pieces(text.chunks(PIECE_CHARS).map(String::from_iter)).paced(1, 1)
}

fn prompt(number: usize) -> String {
    format!("estrofa {number}, por favor")
}

async fn town() -> Town {
    let plan = Plan::default().gateways(2).fallback(Fallback::Reply(recite));
    plan.core("MAX_IN_FLIGHT", 200)
        .core("MAX_CONNECTIONS_PER_ADDRESS", 2_000)
        .core("RATE_ADDRESS_FACTOR", 1_000)
        .both("CONNECTS_PER_MINUTE_PER_ADDRESS", "1000000")
        .start()
        .await
}

/// Bytes each way of an answer that is not cut: from above and, should all pieces be joined, from below.
async fn measured(gateways: &[SocketAddr]) -> (u64, u64) {
    let road = Road::to(gateways.iter().copied()).await;
    hear(&road, &prompt(STREAMS)).await;
    let up = road.traffic().up.load(Relaxed);
    // The text alone, without its frames: that much comes in any case.
    (up, verse(&prompt(STREAMS)).len() as u64)
}

/// Asks, and hears the answer to its end; returns what was told, having compared it with what is stored.
async fn hear(road: &Road, prompt: &str) -> String {
    let builder = Client::builder(ws(road.address())).backoff(FIRST_WAIT, LONGEST_WAIT).first_attempts(10);
    let mut client = builder.start();
    let id = client.send(prompt).unwrap();
    let mut told = String::new();
    let seq = loop {
        match client.next_event().await.unwrap() {
            Event::Delta { offset, text, .. } => {
                assert_eq!(offset, told.chars().count());
                told.push_str(text.expose());
            }
            Event::Done(done) => break done.seq.unwrap(),
            Event::Connected(_) | Event::Accepted { .. } | Event::Queued { .. } | Event::Reconnecting { .. } => {}
            Event::Notice { code: NoticeCode::Ai, .. } => {}
            other => panic!("out of place: {other:?}"),
        }
    };
    let stored = client.export(0).await.unwrap().entries;
    let stored: Vec<_> = stored.iter().map(|entry| (entry.seq, &entry.id, entry.role, entry.text.expose())).collect();
    assert_eq!((seq, stored), (2, vec![(1, &id, Role::User, prompt), (2, &id, Role::Assistant, &*told)]));
    told
}

/// One or two places; the first is within what certainly comes.
fn cuts(chance: &mut Rng, (up, down): (u64, u64)) -> Vec<Cut> {
    let count = if chance.u8(0..4) == 0 { 2 } else { 1 };
    let mut cut = || if chance.u8(0..6) == 0 { Cut::Up(chance.u64(0..up)) } else { Cut::Down(chance.u64(0..down)) };
    (0..count).map(|_| cut()).collect()
}

#[tokio::test]
async fn a_stream_that_is_cut_goes_on_through_another_gateway() {
    let mut chance = chance("streams_cut");
    let town = town().await;
    let gateways: Vec<_> = town.gateways.iter().map(|gateway| gateway.address()).collect();
    let bytes = measured(&gateways).await;
    let streams = iter(0..STREAMS).map(|number| {
        let (cuts, mut gateways) = (cuts(&mut chance, bytes), gateways.clone());
        gateways.rotate_left(number % 2);
        async move {
            let road = Road::with_cuts(gateways, &cuts).await;
            let told = within(2 * LIMIT, hear(&road, &prompt(number))).await;
            let told = told.unwrap_or_else(|expired| panic!("stream {number} with {cuts:?}: {expired}"));
            assert_eq!(told, verse(&prompt(number)), "stream {number} with {cuts:?}");
            let done = road.traffic().cuts.load(Relaxed);
            assert!(1 <= done, "stream {number} was not cut by {cuts:?}");
            assert!(done < road.traffic().connections.load(Relaxed));
            done
        }
    });
    let cuts: usize = streams.buffer_unordered(AT_ONCE).fold(0, async |sum, cuts| sum + cuts).await;
    assert!(STREAMS < cuts, "{cuts}");
    assert_eq!(town.standin.total(), STREAMS as u64 + 1);
}
