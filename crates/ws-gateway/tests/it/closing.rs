//! Close causes, as the client and the core see them.

use futures_util::{SinkExt as _, StreamExt as _};
use protocol::CloseReason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::rig::{Rig, upgrade, within};

#[tokio::test]
async fn maps_closing_line_to_close_code() {
    let rig = Rig::start().await;
    for (reason, code) in CloseReason::ALL
        .into_iter()
        .zip([1000, 1000, 4011, 1001, 4009, 4008, 4010, 4010, 1011, 1008, 1008, 1013, 1000, 1011])
    {
        let (mut client, mut core) = rig.pair(None).await;
        core.say(format!("adiós\n\u{4}{reason}\n")).await;
        drop(core);
        assert_eq!(client.text().await, "adiós", "what was said before is not lost");
        assert_eq!(client.closed().await, (code, reason.name().to_owned()));
    }
}

/// A newer core may send reasons that this gateway does not know.
#[tokio::test]
async fn unknown_reason_counts_as_internal() {
    let rig = Rig::start().await;
    let (mut client, mut core) = rig.pair(None).await;
    core.say("hola\n\u{4}a_reason_of_tomorrow\n").await;
    drop(core);
    assert_eq!(client.text().await, "hola");
    assert_eq!(client.closed().await, (1011, "internal".to_owned()));
}

/// RFC 6455 §7.1.1: the server closes first and awaits nothing after the client's close frame.
#[tokio::test]
async fn client_initiated_close_ends_at_once() {
    let rig = Rig::start().await;
    let (client, _core) = rig.pair(None).await;
    let mut socket = client.websocket.into_inner();
    let begun = tokio::time::Instant::now();
    within(socket.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8])).await.unwrap();
    let mut answer = Vec::new();
    // To the end of the stream: this client keeps its write half open.
    within(socket.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, [0x88, 0x02, 0x03, 0xe8]);
    // Not a limit on the machine's speed: an earlier version waited here for a timer of 2 s.
    assert!(begun.elapsed() < std::time::Duration::from_millis(1_900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn reports_lost_core() {
    let rig = Rig::start().await;
    for (last_words, received) in [("", None), ("hola\n", Some("hola")), ("half a li", None), ("\u{4}by", None)] {
        let (mut client, mut core) = rig.pair(None).await;
        core.say(last_words).await;
        drop(core);
        if let Some(received) = received {
            assert_eq!(client.text().await, received);
        }
        assert_eq!(client.closed().await, (1012, "core_lost".to_owned()), "{last_words:?}");
    }
}

#[tokio::test]
async fn reads_closing_line_after_write_failure() {
    let rig = Rig::start().await;
    let (mut client, mut core) = rig.pair(None).await;
    core.say("\u{4}idle\n").await;
    // Unread input at its close: the gateway's next write is reset.
    client.send("too late").await;
    core.line().await;
    drop(core);
    for _ in 0..3 {
        if client.websocket.send("and later".into()).await.is_err() {
            break;
        }
    }
    assert_eq!(client.closed().await, (4009, "idle".to_owned()));
}

#[tokio::test]
async fn no_core() {
    let (address, _shutdown) = Rig::start().await.lose_core();
    let (mut client, _) = upgrade(address, "/ws", &[]).await.unwrap();
    assert_eq!(client.closed().await, (1013, "core_unreachable".to_owned()));
}

#[tokio::test]
async fn reports_protocol_violations() {
    let rig = Rig::start().await;
    let raw = |bytes: &'static [u8], opcode| Message::Frame(Frame::message(bytes, opcode, true));
    let too_big = "x".repeat(protocol::limits::MAX_LINE_BYTES + 1);
    let cases: [(Message, u16, &str); 5] = [
        (Message::Text(too_big.into()), 1009, "too_big"),
        (Message::Binary("x".into()), 1003, "binary_refused"),
        (raw(b"\xff\xfe", OpCode::Data(Data::Text)), 1007, "invalid_utf8"),
        (raw(b"x", OpCode::Data(Data::Continue)), 1002, "protocol_error"),
        (raw(b"x", OpCode::Data(Data::Reserved(3))), 1002, "protocol_error"),
    ];
    for (message, code, name) in cases {
        let (mut client, mut core) = rig.pair(None).await;
        client.send("antes").await;
        client.send(message).await;
        assert_eq!(client.closed().await, (code, name.to_owned()));
        assert_eq!(core.line().await, "antes");
        core.ended().await;
    }
}

#[tokio::test]
async fn delivers_close_frame_to_client_that_keeps_sending() {
    let rig = Rig::start().await;
    let (mut client, _core) = rig.pair(None).await;
    let huge = Message::Frame(Frame::message(vec![b'x'; 1_000_000], OpCode::Data(Data::Text), true));
    client.send(huge).await;
    assert_eq!(client.closed().await, (1009, "too_big".to_owned()));
}

#[tokio::test]
async fn closes_core_connection_when_client_leaves() {
    let rig = Rig::start().await;
    let (mut client, mut core) = rig.pair(None).await;
    client.send("chau").await;
    within(client.websocket.close(None)).await.unwrap();
    assert_eq!(core.line().await, "chau");
    core.ended().await;
    assert!(matches!(within(client.websocket.next()).await, Some(Ok(Message::Close(None))) | None));

    let (mut client, mut core) = rig.pair(None).await;
    client.send("se cortó").await;
    within(client.websocket.get_mut().shutdown()).await.unwrap();
    assert_eq!(core.line().await, "se cortó");
    core.ended().await;
}
