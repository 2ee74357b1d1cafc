//! People who write slowly, or too much.

use std::time::Duration;

use protocol::limits::MAX_LINE_BYTES;
use serde_json::{Value, json};
use testkit::line_peer::LinePeer;
use testkit::peer::{Peer, PeerError};
use testkit::ws_peer::WsPeer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout_at};

use super::socket::{UPGRADE_REQUEST, connect, message_head, websocket};
use super::{Fates, STILL_CONNECTED, Siege};

/// Between two bytes.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two long lines of one person.
const LONG_PAUSE: Duration = Duration::from_millis(100);
/// The signature of a PROXY header, and its first four bytes, which announce 200 more.
const PROXY_HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\xc8";

/// Writes a byte a second from `start` on, until the server ends it; `None`: it did not until the end.
async fn crawl(siege: Siege, stream: &mut TcpStream) -> Option<Duration> {
    let begin = Instant::now();
    let (mut reading, mut writing) = stream.split();
    let dripping = async {
        let mut pauses = interval_at(begin + PAUSE, PAUSE);
        pauses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pauses.tick().await;
            if writing.write_all(b"x").await.is_err() {
                break;
            }
        }
    };
    let ended = async {
        let mut bytes = [0; 1_024];
        // A reset is an end too.
        while reading.read(&mut bytes).await.is_ok_and(|count| 0 < count) {}
    };
    tokio::select! {
        () = dripping => Some(begin.elapsed()),
        () = ended => Some(begin.elapsed()),
        () = sleep_until(siege.until) => None,
    }
}

fn fate(ended: Option<Duration>) -> String {
    ended.map_or_else(|| STILL_CONNECTED.to_owned(), |after| format!("ended after {:.0} s", after.as_secs_f64()))
}

/// In the plain face: one line that never ends.
pub(super) async fn slow_line_to_core(siege: Siege, start: Duration, fates: &Fates) {
    sleep(start).await;
    let what = match connect(31, siege.core, None).await {
        Ok(mut stream) => fate(crawl(siege, &mut stream).await),
        Err(error) => error.kind().to_string(),
    };
    fates.add("slow writers at the core", what);
}

/// One WebSocket message that never ends.
pub(super) async fn slow_line_to_gateway(siege: Siege, start: Duration, fates: &Fates) {
    sleep(start).await;
    let what = match websocket(32, siege.gateway).await {
        Ok(mut stream) => match stream.write_all(&message_head(1_000)).await {
            Ok(()) => fate(crawl(siege, &mut stream).await),
            Err(error) => error.kind().to_string(),
        },
        Err(error) => error.kind().to_string(),
    };
    fates.add("slow writers at the gateway", what);
}

/// PROXY headers that begin and go on a byte a second, one after another.
pub(super) async fn proxy_header(siege: Siege, start: Duration, fates: &Fates) {
    sleep(start).await;
    begin_again(siege, 52, PROXY_HEADER, ("slow PROXY headers", fates)).await;
}

/// Requests for a WebSocket of which half is there, the rest a byte a second, one after another.
pub(super) async fn upgrade(siege: Siege, start: Duration, fates: &Fates) {
    sleep(start).await;
    let (half, _) = UPGRADE_REQUEST.as_bytes().split_at(UPGRADE_REQUEST.len() / 2);
    begin_again(siege, 51, half, ("half upgrades", fates)).await;
}

async fn begin_again(siege: Siege, home: u8, beginning: &[u8], (who, fates): (&'static str, &Fates)) {
    let address = if home == 51 { siege.gateway } else { siege.core };
    while Instant::now() < siege.until {
        let Ok(mut stream) = connect(home, address, None).await else { return fates.add(who, "not connected") };
        if stream.write_all(beginning).await.is_err() {
            return fates.add(who, "not written");
        }
        fates.add(who, fate(crawl(siege, &mut stream).await));
    }
}

/// Lines as long as may be, one after another.
pub(super) async fn long_lines_to_core(siege: Siege, fates: &Fates) {
    let Ok(stream) = connect(41, siege.core, None).await else { return fates.add(LONG[0], "not connected") };
    long_lines(siege, LinePeer::new(stream), (LONG[0], fates)).await;
}

/// The same through the gateway.
pub(super) async fn long_lines_to_gateway(siege: Siege, fates: &Fates) {
    let Ok(stream) = connect(42, siege.gateway, None).await else { return fates.add(LONG[1], "not connected") };
    match WsPeer::upgrade(stream, &format!("ws://{}/ws", siege.gateway), protocol::Face::Frames).await {
        Ok(peer) => long_lines(siege, peer, (LONG[1], fates)).await,
        Err(_) => fates.add(LONG[1], "not upgraded"),
    }
}

const LONG: [&str; 2] = ["64 KiB lines at the core", "64 KiB lines at the gateway"];

async fn long_lines<P: Peer>(siege: Siege, mut peer: P, (who, fates): (&'static str, &Fates)) {
    let frame = |text: &str| json!({"type": "message", "id": "m", "text": text}).to_string();
    let line = frame(&"x".repeat(MAX_LINE_BYTES - frame("").len()));
    if peer.send_line(r#"{"type":"hello","v":1}"#).await.is_err() {
        return fates.add(who, "lost");
    }
    let talk = async {
        // The welcome, and the notice that this is no person.
        peer.next_line().await?;
        peer.next_line().await?;
        loop {
            peer.send_line(&line).await?;
            let Some(answer) = peer.next_line().await? else { break };
            let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
            fates.add(who, answer["code"].as_str().unwrap_or("something else"));
            sleep(LONG_PAUSE).await;
        }
        Ok::<_, PeerError>(())
    };
    let ended = timeout_at(siege.until, talk).await.is_ok();
    fates.add(who, if ended { "ended by the server" } else { STILL_CONNECTED });
}
