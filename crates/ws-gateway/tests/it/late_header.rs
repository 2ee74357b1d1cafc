//! Core that got the PROXY header late, and closes with `late_header` (`proto-line/SPEC.md` §6).

use crate::rig::{Client, CorePeer, Rig};

const FRAMES: Option<&str> = Some("psicoia.v1");
const HELLO: &str = r#"{"type":"hello","v":1}"#;
const WELCOME: &str = r#"{"type":"welcome"}"#;
const LATE: &str = "\u{4}late_header\n";
const GREETING: &str = "Usuario-1 conectado.\nSoy una inteligencia artificial.\nContame.\n";

/// Connects with `hello`, and closes the first connection to the core after `output`.
async fn late(rig: &Rig, subprotocol: Option<&'static str>, output: &str) -> (Client, CorePeer) {
    let (mut client, mut core) = rig.pair(subprotocol).await;
    client.send(HELLO).await;
    assert_eq!(core.line().await, HELLO);
    core.say(format!("{output}{LATE}")).await;
    (client, core)
}

#[tokio::test]
async fn reconnects_once_and_repeats_what_was_not_read() {
    let rig = Rig::start().await;
    for (subprotocol, output) in [(FRAMES, ""), (FRAMES, GREETING), (None, "")] {
        let (mut client, first) = late(&rig, subprotocol, output).await;
        let header = first.header.clone();
        drop(first);
        let mut second = rig.core().await;
        assert_eq!(second.header, header, "the same client, face and trace");
        client.send("second").await;
        assert_eq!((second.line().await, second.line().await), (HELLO.to_owned(), "second".to_owned()));
        second.say(format!("{WELCOME}\n")).await;
        assert_eq!(client.text().await, WELCOME, "nothing came before it");
    }
}

#[tokio::test]
async fn reconnects_before_the_client_has_sent_anything() {
    let rig = Rig::start().await;
    let (mut client, mut first) = rig.pair(FRAMES).await;
    first.say(format!("{GREETING}{LATE}")).await;
    drop(first);
    let mut second = rig.core().await;
    client.send(HELLO).await;
    assert_eq!(second.line().await, HELLO);
    second.say(format!("{WELCOME}\n")).await;
    assert_eq!(client.text().await, WELCOME);
}

#[tokio::test]
async fn second_late_header_closes_the_client() {
    let rig = Rig::start().await;
    let (mut client, first) = late(&rig, FRAMES, GREETING).await;
    drop(first);
    let mut second = rig.core().await;
    second.say(LATE).await;
    drop(second);
    assert_eq!(client.closed().await, (4010, "late_header".to_owned()));
}

/// Output reached the client, or input is not kept any more: another core would begin a second conversation.
#[tokio::test]
async fn never_reconnects_a_conversation() {
    let rig = Rig::start().await;
    let (mut client, first) = late(&rig, FRAMES, &format!("{WELCOME}\n")).await;
    drop(first);
    assert_eq!(client.text().await, WELCOME);
    assert_eq!(client.closed().await, (4010, "late_header".to_owned()));

    let (mut client, first) = late(&rig, None, GREETING).await;
    drop(first);
    for line in GREETING.lines() {
        assert_eq!(client.text().await, line, "a plain greeting is the client's own, as far as the gateway knows");
    }
    assert_eq!(client.closed().await, (4010, "late_header".to_owned()));

    let (mut client, mut first) = rig.pair(FRAMES).await;
    let long = "x".repeat(10_000);
    client.send(long.as_str()).await;
    assert_eq!(first.line().await, long);
    first.say(LATE).await;
    drop(first);
    assert_eq!(client.closed().await, (4010, "late_header".to_owned()));
}
