//! Stalled readers: clients that request a long answer and repeated exports, and read nothing.

use std::time::Duration;

use protocol::Face;
use serde_json::json;
use testkit::line_peer::LinePeer;
use testkit::peer::{Peer, PeerError};
use testkit::ws_peer::WsPeer;
use tokio::time::{Instant, sleep, timeout};

use super::socket::connect;
use super::{AttackLoad, Outcomes, STILL_CONNECTED};
use crate::pressure::ASK_FOR_MUCH;

/// Smallest receive buffer, so that the server's sends block soon.
const RECEIVE_BYTES: u32 = 4_096;
/// Pause between two requests.
const PAUSE: Duration = Duration::from_millis(10);
/// Timeout for the rest of the stream at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

pub(super) async fn at_core(attack: AttackLoad, outcomes: &Outcomes) {
    let label = "stopped readers at the core";
    match connect(21, attack.core, Some(RECEIVE_BYTES)).await {
        Ok(stream) => outcomes.add(label, stall(attack, LinePeer::new(stream)).await),
        Err(error) => outcomes.add(label, error.kind().to_string()),
    }
}

pub(super) async fn at_gateway(attack: AttackLoad, outcomes: &Outcomes) {
    let label = "stopped readers at the gateway";
    let Ok(stream) = connect(22, attack.gateway, Some(RECEIVE_BYTES)).await else {
        return outcomes.add(label, "not connected");
    };
    match WsPeer::upgrade(stream, &format!("ws://{}/ws", attack.gateway), Face::Frames).await {
        Ok(peer) => outcomes.add(label, stall(attack, peer).await),
        Err(_) => outcomes.add(label, "not upgraded"),
    }
}

/// Stalls until the end and returns the outcome.
async fn stall<P: Peer>(attack: AttackLoad, mut peer: P) -> String {
    if ask_for_much(&mut peer).await.is_err() {
        return "lost at the beginning".to_owned();
    }
    let request = json!({"type": "request", "id": "r", "method": "export"}).to_string();
    while Instant::now() < attack.until {
        // A timeout means that the server reads no more; an error means that it disconnected.
        if let Ok(Err(_)) = timeout(PAUSE, peer.send_line(&request)).await {
            break;
        }
        sleep(PAUSE).await;
    }
    let rest = timeout(LAST_WAIT, async { while let Ok(Some(_)) = peer.next_line().await {} });
    match rest.await {
        Ok(()) => peer.ending().map_or_else(|| "ended with a reset".to_owned(), |ending| format!("ended: {ending:?}")),
        Err(_) => STILL_CONNECTED.to_owned(),
    }
}

/// Requests a long answer and waits for its first delta.
async fn ask_for_much<P: Peer>(peer: &mut P) -> Result<(), PeerError> {
    peer.send_line(r#"{"type":"hello","v":1}"#).await?;
    peer.send_line(&json!({"type": "message", "id": "m", "text": ASK_FOR_MUCH}).to_string()).await?;
    while peer.next_line().await?.is_some_and(|line| !line.contains("\"delta\"")) {}
    Ok(())
}
