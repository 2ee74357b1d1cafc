//! Exhausted file descriptors: the service backs off, logs it, and recovers.

use std::net::SocketAddr;

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::line_peer::LinePeer;
use testkit::process::{Launch, built};
use tokio::net::TcpStream;

use crate::http;
use crate::program::Kind;
use crate::test_client::TestClient;

/// Enough to start, too few for the connections below.
const FILES: usize = 64;
const CONNECTIONS: usize = 100;

/// Launches `kind` with a low `ulimit -n`, set by a shell that execs it.
fn starved(kind: Kind, folder: &std::path::Path) -> Launch {
    let script = format!("ulimit -n {FILES} && exec \"$0\"");
    let launch = Launch::new("/bin/sh").argument("-c").argument(script).argument(built(kind.name()).unwrap());
    launch.directory(folder).env(kind.port(), "0").env("WORKERS", "1")
}

async fn serves(kind: Kind, address: SocketAddr) {
    match kind {
        Kind::Gateway => http::until_status(address, "/healthz", 200).await,
        Kind::Core => {
            let mut person = TestClient::new(LinePeer::connect(address).await.unwrap());
            person.send(json!({"type": "hello", "v": 1})).await;
            assert_eq!(person.frame_of("welcome").await["type"], "welcome");
        }
    }
}

#[tokio::test]
async fn backs_off_without_file_descriptors() {
    for kind in Kind::BOTH {
        let folder = tempfile::tempdir().unwrap();
        let mut service = starved(kind, folder.path()).start().await.unwrap();
        let address = service.listen().unwrap();
        let held = join_all((0..CONNECTIONS).map(|_| TcpStream::connect(address))).await;
        let refused = |line: &str| line.contains("\"message\":\"accept failed; backing off\"");
        // Three times: accepting is retried while the shortage lasts.
        let mut times = 0;
        let third = |line: &str| {
            times += usize::from(refused(line));
            times == 3
        };
        service.wait_for_log(third).await.unwrap().unwrap();
        drop(held);
        serves(kind, address).await;
        let pauses: Vec<u64> =
            service.logs().iter().filter(|line| refused(line)).filter_map(|line| pause(line)).collect();
        // One log line per backoff, which grows unless a connection was accepted in between.
        let fits = |pair: &[u64]| pair[1] == 50 || pair[1] == 1_000.min(2 * pair[0]);
        assert!(pauses[0] == 50 && pauses.windows(2).all(fits), "{}: {pauses:?}", kind.name());
        assert!(pauses.len() < 20, "{}: {pauses:?}", kind.name());
        assert_eq!(service.terminate().await.unwrap().code(), Some(0), "{:?}", service.logs());
    }
}

fn pause(line: &str) -> Option<u64> {
    serde_json::from_str::<Value>(line).ok()?["pause_ms"].as_u64()
}
