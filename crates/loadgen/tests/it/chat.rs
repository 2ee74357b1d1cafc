use std::net::SocketAddr;
use std::time::Duration;

use loadgen::chat::{self, Options};
use loadgen::{Target, WatchedProcess, idle};
use protocol::Face;
use tokio::net::TcpListener;

use crate::fake_core;

fn options(address: SocketAddr) -> Options {
    Options {
        target: Target::Tcp { host: address.to_string() },
        face: Face::Frames,
        people: 5,
        messages: 4,
        text: "hola".to_owned(),
        rate: None,
        think: Duration::ZERO,
        timeout: Duration::from_secs(20),
        limit: Duration::from_secs(60),
        watched: vec![WatchedProcess { name: "own".to_owned(), pid: std::process::id() }],
        disk: None,
    }
}

#[tokio::test]
async fn closed_loop_counts_every_turn() {
    let address = fake_core::start().await;
    let report = chat::run(&options(address)).await.unwrap();
    assert_eq!((report.turns, report.chunks), (20, 40));
    assert!(report.errors.is_empty(), "{report}");
    for latency in [report.accepted, report.first, report.done] {
        assert_eq!(latency.unwrap().count, 20);
    }
    assert_eq!(report.costs.len(), 1);
    assert!(0 < report.costs[0].resident_bytes);
    assert!(report.to_string().contains("5 people, 20 turns"), "{report}");
}

#[tokio::test]
async fn websocket_counts_match_tcp() {
    let address = fake_core::start_websocket().await;
    let target = format!("ws://{address}/ws").parse().unwrap();
    let report = chat::run(&Options { target, ..options(address) }).await.unwrap();
    assert_eq!((report.turns, report.chunks), (20, 40));
}

#[tokio::test]
async fn open_loop_respects_rate_and_limit() {
    let address = fake_core::start().await;
    let all = Options { rate: Some(1_000.0), ..options(address) };
    assert_eq!(chat::run(&all).await.unwrap().turns, 20);
    // Due at 0, 100, 200 ms: the rest lies beyond the limit.
    let few = Options { rate: Some(10.0), limit: Duration::from_millis(250), ..options(address) };
    assert_eq!(chat::run(&few).await.unwrap().turns, 3);
}

#[tokio::test]
async fn counts_failures_by_code() {
    let address = fake_core::start().await;
    let refused = Options { text: fake_core::REFUSED.to_owned(), ..options(address) };
    let report = chat::run(&refused).await.unwrap();
    assert_eq!((report.turns, report.errors["rate_limited"]), (0, 20));

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(chat::run(&options(closed)).await.is_err());
}

#[tokio::test]
async fn reports_disk_beside_accepted() {
    let address = fake_core::start().await;
    let disk = Some(env!("CARGO_TARGET_TMPDIR").into());
    let report = chat::run(&Options { disk, ..options(address) }).await.unwrap();
    let lines: Vec<String> = report.to_string().lines().map(str::to_owned).collect();
    let disk = lines.iter().position(|line| line.starts_with("disk: p50 ")).unwrap();
    assert!(lines[disk + 1].starts_with("accepted: "), "{report}");

    let nowhere = Options { disk: Some("/nonexistent".into()), ..options(address) };
    assert!(chat::run(&nowhere).await.unwrap_err().to_string().starts_with("/nonexistent: "));
}

#[tokio::test]
async fn connects_all_idle_users() {
    let address = fake_core::start().await;
    let options = idle::Options {
        target: Target::Tcp { host: address.to_string() },
        face: Face::Frames,
        people: 100,
        settle: Duration::from_millis(1),
        watched: vec![WatchedProcess { name: "own".to_owned(), pid: std::process::id() }],
    };
    let report = idle::run(&options).await.unwrap();
    assert_eq!((report.people, report.costs.len()), (100, 1));
}
