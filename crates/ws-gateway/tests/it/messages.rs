//! Mapping between WebSocket messages and lines.

use std::collections::HashSet;

use futures_util::SinkExt as _;
use proptest::prelude::*;
use protocol::Face;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::rig::Rig;

const FRAMES: Option<&str> = Some("psicoia.v1");

#[tokio::test]
async fn announces_face_before_first_line() {
    let rig = Rig::start().await;
    let offers: &[(Option<&'static str>, Option<&str>, Face)] = &[
        (None, None, Face::Plain),
        (Some("psicoia.v1"), Some("psicoia.v1"), Face::Frames),
        (Some("chat, psicoia.v1"), Some("psicoia.v1"), Face::Frames),
    ];
    for path in ["/ws", "/"] {
        for &(offer, selected, face) in offers {
            let headers: Vec<_> = offer.into_iter().map(|offer| ("sec-websocket-protocol", offer)).collect();
            let (_client, response) = rig.request(path, &headers).await.unwrap();
            let got = response.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap());
            assert_eq!(got, selected, "{offer:?}");
            let header = rig.core().await.header;
            assert_eq!((header.face, header.closing_line), (Some(face), true));
            assert_eq!(header.source.unwrap().ip().to_string(), "127.0.0.1");
            let trace = header.trace.unwrap();
            assert_eq!(response.headers()["x-trace-id"].to_str().unwrap(), trace.trace_id.to_string());
        }
    }
}

#[tokio::test]
async fn ignores_unknown_subprotocol() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let rig = Rig::start().await;
    let mut stream = rig.tcp().await;
    let request = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: mqtt\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(rig.core().await.header.face, Some(Face::Plain));
    let mut head = vec![0; 1_024];
    let len = stream.read(&mut head).await.unwrap();
    let head = String::from_utf8_lossy(&head[..len]).to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && !head.contains("sec-websocket-protocol"), "{head}");
}

#[tokio::test]
async fn tags_each_line_with_own_span() {
    let rig = Rig::start().await;
    let (mut client, mut core) = rig.pair(FRAMES).await;
    let mut spans = HashSet::new();
    for text in ["a", "", "  ", "ñandú 🌵", "{\"type\":\"ping\"}"] {
        client.send(text).await;
        let (trace, line) = core.tagged().await;
        assert_eq!(line, text);
        assert_eq!(trace.trace_id, core.header.trace.unwrap().trace_id);
        assert!(spans.insert(trace.span_id), "a span twice");
    }
}

#[tokio::test]
async fn plain_message_becomes_one_line() {
    let rig = Rig::start().await;
    let (mut client, mut core) = rig.pair(None).await;
    for (message, line) in [("dos\nlíneas", "dos líneas"), ("a\r\nb\n\nc\n", "a b  c "), ("x\r", "x\r")] {
        client.send(message).await;
        assert_eq!(core.line().await, line);
    }
}

#[tokio::test]
async fn rejects_line_feed_in_frame() {
    let rig = Rig::start().await;
    let (mut client, mut core) = rig.pair(FRAMES).await;
    client.send("{\n}").await;
    client.send("{}").await;
    let error = client.text().await;
    assert!(error.starts_with(r#"{"type":"error","code":"bad_frame","message":""#), "{error}");
    assert!(!error.contains('\n'));
    assert_eq!(core.line().await, "{}", "only the good one is forwarded");
}

/// A long message replaces the read buffer; data behind it, whole or partial, must not be lost.
#[tokio::test]
async fn keeps_messages_behind_a_long_one() {
    let rig = Rig::start().await;
    let (mut client, mut core) = rig.pair(None).await;
    let long = "x".repeat(60_000);
    for round in 0..5 {
        client.send(long.as_str()).await;
        client.send(format!("short {round}")).await;
        client.websocket.send(Message::Ping("p".into())).await.unwrap();
        client.send(long.as_str()).await;
        for want in [long.as_str(), &format!("short {round}"), long.as_str()] {
            assert_eq!(core.line().await, want);
        }
        core.say(format!("answer {round}\n")).await;
        assert_eq!(client.text().await, format!("answer {round}"));
    }
}

#[tokio::test]
async fn joins_fragments() {
    let rig = Rig::start().await;
    let (mut client, mut core) = rig.pair(None).await;
    let text = "cortada en el medio de la ñ".as_bytes();
    let cut = text.len() - 1;
    client.send(Message::Frame(Frame::message(text[..cut].to_vec(), OpCode::Data(Data::Text), false))).await;
    client.send(Message::Ping("between".into())).await;
    client.send(Message::Frame(Frame::message(text[cut..].to_vec(), OpCode::Data(Data::Continue), true))).await;
    assert_eq!(core.line().await.as_bytes(), text);
}

#[tokio::test]
async fn forwards_lines_of_maximum_length() {
    let rig = Rig::start().await;
    let (mut client, mut core) = rig.pair(FRAMES).await;
    let longest = "é".repeat(protocol::limits::MAX_LINE_BYTES / 2);
    client.send(longest.as_str()).await;
    assert_eq!(core.line().await, longest);
    let longest = "é".repeat(protocol::limits::MAX_SERVER_LINE_BYTES / 2);
    core.say(format!("{longest}\nnext\n")).await;
    assert_eq!(client.text().await, longest);
    assert_eq!(client.text().await, "next");
}

#[tokio::test]
async fn output_split_at_every_byte() {
    let rig = Rig::start().await;
    let output = "uno\nñandú 🌵\n\n{\"type\":\"pong\"}\n".as_bytes();
    let (mut client, mut core) = rig.pair(None).await;
    for cut in 1..output.len() {
        core.say(&output[..cut]).await;
        tokio::task::yield_now().await;
        core.say(&output[cut..]).await;
        for line in ["uno", "ñandú 🌵", "", "{\"type\":\"pong\"}"] {
            assert_eq!(client.text().await, line, "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn forwards_many_messages_both_ways() {
    const MESSAGES: usize = 20_000;
    let rig = Rig::start().await;
    let (mut client, mut core) = rig.pair(FRAMES).await;
    let echo = tokio::runtime::Handle::current().spawn(async move {
        for index in 0..MESSAGES {
            let line = core.line().await;
            assert_eq!(line, format!("message {index}"));
            core.say(format!("{line} came back\n")).await;
        }
    });
    for chunk in 0..MESSAGES / 100 {
        for index in chunk * 100..(chunk + 1) * 100 {
            client.send(format!("message {index}")).await;
        }
        for index in chunk * 100..(chunk + 1) * 100 {
            assert_eq!(client.text().await, format!("message {index} came back"));
        }
    }
    echo.await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn lines_round_trip_in_any_chunks(
        lines in proptest::collection::vec("[^\n\u{4}]{0,40}", 1..20),
        cuts in proptest::collection::vec(0usize..800, 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::start().await;
            let (mut client, mut core) = rig.pair(FRAMES).await;
            let output: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (output.len() + 1)).collect();
            cuts.sort_unstable();
            let mut from = 0;
            for to in cuts.into_iter().chain([output.len()]) {
                core.say(&output[from..to]).await;
                tokio::task::yield_now().await;
                from = to;
            }
            for line in &lines {
                assert_eq!(&client.text().await, line);
                client.send(line.as_str()).await;
            }
            for line in &lines {
                assert_eq!(&core.line().await, line);
            }
        });
    }
}
