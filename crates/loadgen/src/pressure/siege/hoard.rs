//! People who ask for a long answer, and then for everything again and again, and read none of it.

use std::time::Duration;

use protocol::Face;
use serde_json::json;
use testkit::line_peer::LinePeer;
use testkit::peer::{Peer, PeerError};
use testkit::ws_peer::WsPeer;
use tokio::time::{Instant, sleep, timeout};

use super::socket::connect;
use super::{Fates, STILL_CONNECTED, Siege};
use crate::pressure::ASK_FOR_MUCH;

/// As little as the kernel takes: what it keeps for a reader is soon full.
const RECEIVE_BYTES: u32 = 4_096;
/// Between two requests, while they are taken.
const PAUSE: Duration = Duration::from_millis(10);
/// How long one waits at the end for the rest.
const LAST_WAIT: Duration = Duration::from_secs(1);

pub(super) async fn at_core(siege: Siege, fates: &Fates) {
    let who = "stopped readers at the core";
    match connect(21, siege.core, Some(RECEIVE_BYTES)).await {
        Ok(stream) => fates.add(who, hoard(siege, LinePeer::new(stream)).await),
        Err(error) => fates.add(who, error.kind().to_string()),
    }
}

pub(super) async fn at_gateway(siege: Siege, fates: &Fates) {
    let who = "stopped readers at the gateway";
    let Ok(stream) = connect(22, siege.gateway, Some(RECEIVE_BYTES)).await else {
        return fates.add(who, "not connected");
    };
    match WsPeer::upgrade(stream, &format!("ws://{}/ws", siege.gateway), Face::Frames).await {
        Ok(peer) => fates.add(who, hoard(siege, peer).await),
        Err(_) => fates.add(who, "not upgraded"),
    }
}

/// Says how it ended.
async fn hoard<P: Peer>(siege: Siege, mut peer: P) -> String {
    if ask_for_much(&mut peer).await.is_err() {
        return "lost at the beginning".to_owned();
    }
    let request = json!({"type": "request", "id": "r", "method": "export"}).to_string();
    while Instant::now() < siege.until {
        // Once nothing is taken any more, writing waits; an error says that it is over.
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

/// Waits for the first piece of the answer.
async fn ask_for_much<P: Peer>(peer: &mut P) -> Result<(), PeerError> {
    peer.send_line(r#"{"type":"hello","v":1}"#).await?;
    peer.send_line(&json!({"type": "message", "id": "m", "text": ASK_FOR_MUCH}).to_string()).await?;
    while peer.next_line().await?.is_some_and(|line| !line.contains("\"delta\"")) {}
    Ok(())
}
