//! Slowloris attacks and lines of maximum length.

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
use super::{AttackLoad, Outcomes, STILL_CONNECTED};

/// Pause between two bytes.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause between two long lines.
const LONG_PAUSE: Duration = Duration::from_millis(100);
/// Signature of a PROXY v2 header and its next four bytes, which announce 200 more.
const PROXY_HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\xc8";

/// Writes one byte per second; returns the time until the server disconnects, `None` if it does not.
async fn drip(attack: AttackLoad, stream: &mut TcpStream) -> Option<Duration> {
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
        // A reset counts as a disconnect.
        while reading.read(&mut bytes).await.is_ok_and(|count| 0 < count) {}
    };
    tokio::select! {
        () = dripping => Some(begin.elapsed()),
        () = ended => Some(begin.elapsed()),
        () = sleep_until(attack.until) => None,
    }
}

fn outcome(ended: Option<Duration>) -> String {
    ended.map_or_else(|| STILL_CONNECTED.to_owned(), |after| format!("ended after {:.0} s", after.as_secs_f64()))
}

/// Sends one endless plain line.
pub(super) async fn slow_line_to_core(attack: AttackLoad, start: Duration, outcomes: &Outcomes) {
    sleep(start).await;
    let outcome = match connect(31, attack.core, None).await {
        Ok(mut stream) => outcome(drip(attack, &mut stream).await),
        Err(error) => error.kind().to_string(),
    };
    outcomes.add("slow writers at the core", outcome);
}

/// Sends one endless WebSocket message.
pub(super) async fn slow_line_to_gateway(attack: AttackLoad, start: Duration, outcomes: &Outcomes) {
    sleep(start).await;
    let outcome = match websocket(32, attack.gateway).await {
        Ok(mut stream) => match stream.write_all(&message_head(1_000)).await {
            Ok(()) => outcome(drip(attack, &mut stream).await),
            Err(error) => error.kind().to_string(),
        },
        Err(error) => error.kind().to_string(),
    };
    outcomes.add("slow writers at the gateway", outcome);
}

/// Sends PROXY headers at one byte per second, one after another.
pub(super) async fn proxy_header(attack: AttackLoad, start: Duration, outcomes: &Outcomes) {
    sleep(start).await;
    reconnect_loop(attack, 52, PROXY_HEADER, "slow PROXY headers", outcomes).await;
}

/// Sends half an upgrade request and the rest at one byte per second, repeatedly.
pub(super) async fn upgrade(attack: AttackLoad, start: Duration, outcomes: &Outcomes) {
    sleep(start).await;
    let (half, _) = UPGRADE_REQUEST.as_bytes().split_at(UPGRADE_REQUEST.len() / 2);
    reconnect_loop(attack, 51, half, "half upgrades", outcomes).await;
}

async fn reconnect_loop(attack: AttackLoad, source: u8, beginning: &[u8], label: &'static str, outcomes: &Outcomes) {
    let address = if source == 51 { attack.gateway } else { attack.core };
    while Instant::now() < attack.until {
        let Ok(mut stream) = connect(source, address, None).await else { return outcomes.add(label, "not connected") };
        if stream.write_all(beginning).await.is_err() {
            return outcomes.add(label, "not written");
        }
        outcomes.add(label, outcome(drip(attack, &mut stream).await));
    }
}

/// Sends lines of maximum length to the core.
pub(super) async fn long_lines_to_core(attack: AttackLoad, outcomes: &Outcomes) {
    let Ok(stream) = connect(41, attack.core, None).await else { return outcomes.add(LONG[0], "not connected") };
    long_lines(attack, LinePeer::new(stream), LONG[0], outcomes).await;
}

/// Sends lines of maximum length to the gateway.
pub(super) async fn long_lines_to_gateway(attack: AttackLoad, outcomes: &Outcomes) {
    let Ok(stream) = connect(42, attack.gateway, None).await else { return outcomes.add(LONG[1], "not connected") };
    match WsPeer::upgrade(stream, &format!("ws://{}/ws", attack.gateway), protocol::Face::Frames).await {
        Ok(peer) => long_lines(attack, peer, LONG[1], outcomes).await,
        Err(_) => outcomes.add(LONG[1], "not upgraded"),
    }
}

const LONG: [&str; 2] = ["64 KiB lines at the core", "64 KiB lines at the gateway"];

async fn long_lines<P: Peer>(attack: AttackLoad, mut peer: P, label: &'static str, outcomes: &Outcomes) {
    let frame = |text: &str| json!({"type": "message", "id": "m", "text": text}).to_string();
    let line = frame(&"x".repeat(MAX_LINE_BYTES - frame("").len()));
    if peer.send_line(r#"{"type":"hello","v":1}"#).await.is_err() {
        return outcomes.add(label, "lost");
    }
    let talk = async {
        // `welcome` and the AI notice.
        peer.next_line().await?;
        peer.next_line().await?;
        loop {
            peer.send_line(&line).await?;
            let Some(answer) = peer.next_line().await? else { break };
            let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
            outcomes.add(label, answer["code"].as_str().unwrap_or("something else"));
            sleep(LONG_PAUSE).await;
        }
        Ok::<_, PeerError>(())
    };
    let ended = timeout_at(attack.until, talk).await.is_ok();
    outcomes.add(label, if ended { "ended by the server" } else { STILL_CONNECTED });
}
