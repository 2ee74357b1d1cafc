//! Connections over in-memory streams, on a store that may be slow or unavailable, with a paused clock.

mod fixture;

use std::time::Duration;

use protocol::server_frame::Role;
use protocol::{Face, Language, MessageId, UserText, proxy_header};
use serde_json::{Value, json};
use store::{NewEntry, Store as _};
use testkit::peer::Peer as _;
use tokio::net::TcpStream;
use tokio::time::sleep;

use self::fixture::{Fixture, TIMEOUTS, unavailable};
use super::*;
use crate::turn::{now, store_rejection};

/// Bound of the memory of an idle connection, which is mostly its future.
const MAX_FUTURE_BYTES: usize = 1_488;

fn unavailable_line() -> String {
    store_rejection(&unavailable()).frame(Language::default()).message
}

fn kind(line: &str) -> String {
    let frame: Value = serde_json::from_str(line).unwrap();
    match (frame["type"].as_str().unwrap(), &frame["code"]) {
        ("turn", _) => format!("turn {}", frame["seq"]),
        (name, Value::String(code)) => format!("{name} {code}"),
        (name, _) => name.to_owned(),
    }
}

#[test]
fn idle_connection_is_small() {
    fn size<F>(_: impl FnOnce(Connection, TcpStream, BytesMut) -> F) -> usize {
        size_of::<F>()
    }
    let bytes = size(Connection::run::<TcpStream>);
    assert!(bytes <= MAX_FUTURE_BYTES, "{bytes}, {} of them the connection", size_of::<Connection>());
}

/// A message in risk must not meet a closed connection.
#[tokio::test(start_paused = true)]
async fn plain_connection_stays_open_when_no_session_can_be_opened() {
    let fixture = Fixture::new();
    fixture.store.set_available(false);
    let mut person = fixture.connect();
    assert_eq!(person.line().await, unavailable_line(), "in place of the greeting");
    sleep(TIMEOUTS.greet_delay * 10).await;
    person.send("hola").await;
    assert_eq!(person.line().await, unavailable_line());
    person.send("me quiero matar").await;
    let help = person.lines(2).await;
    assert!(help[0].contains("112") || help[0].contains("988") || help[0].contains("135"), "{help:?}");
    assert_eq!(help[1], unavailable_line());
    fixture.store.set_available(true);
    person.send("/plan").await;
    let lines = person.lines(4).await;
    assert!(lines[0].starts_with("Usuario-1 "), "{lines:?}");
    assert_eq!(lines[3], texts::no_plan(Language::default()));
    person.send("salir").await;
    assert_eq!(person.end().await.1, CloseReason::Bye);
}

#[tokio::test(start_paused = true)]
async fn leaves_without_a_session_on_request() {
    let fixture = Fixture::new();
    fixture.store.set_available(false);
    let mut person = fixture.connect();
    person.send("salir").await;
    assert_eq!(person.end().await, (vec![unavailable_line()], CloseReason::Bye));
}

#[tokio::test(start_paused = true)]
async fn late_header_ends_the_connection_with_its_reason() {
    let gateway = proxy_header::encode(
        "203.0.113.9:4711".parse().unwrap(),
        "127.0.0.1:5001".parse().unwrap(),
        Traceparent::random(),
        Face::Frames,
    );
    let (late, bad, unauthorized) = (CloseReason::LateHeader, CloseReason::BadHeader, CloseReason::Unauthorized);
    // (reason of the peer, header, closing line is sent)
    let rows: &[(CloseReason, &[u8], bool)] = &[
        (late, &gateway, true),
        (late, b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 5001\r\n", false),
        (bad, &gateway, true),
        (unauthorized, &gateway, true),
        (unauthorized, &gateway[..16], false),
    ];
    for &(reason, header, has_closing_line) in rows {
        let fixture = Fixture::new();
        let mut person = fixture.connect_as(Peer { late_header: reason, ..Fixture::peer(None) });
        assert!(person.lines(3).await[0].starts_with("Usuario-1 "));
        person.peer.send_bytes(&[header, b"me quiero matar\n"].concat()).await.unwrap();
        let begin = Instant::now();
        assert_eq!(person.peer.next_line().await.unwrap(), None);
        let closed = person.peer.ending().unwrap();
        assert_eq!(closed == testkit::peer::ConnectionEnd::Reason(reason), has_closing_line, "{closed:?}");
        assert_eq!(person.end().await, (vec![], reason));
        assert!(begin.elapsed() < LINGER);
    }
}

/// The gateway reconnects at once: it must not wait for a slow store.
#[tokio::test(start_paused = true)]
async fn late_header_waits_for_no_greeting() {
    let fixture = Fixture::new();
    fixture.store.set_delay(Duration::from_secs(60));
    let mut person = fixture.connect();
    sleep(TIMEOUTS.greet_delay * 2).await;
    person.peer.send_bytes(b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 5001\r\n").await.unwrap();
    let begin = Instant::now();
    assert_eq!(person.end().await, (vec![], CloseReason::LateHeader));
    assert!(begin.elapsed() < LINGER);
}

#[tokio::test(start_paused = true)]
async fn replays_page_by_page_while_the_store_is_slow() {
    let fixture = Fixture::new();
    let opened = fixture.context.sessions.create(true, None, None).await.unwrap();
    let (user, token) = (opened.session.user(), opened.key.token.clone());
    drop(opened);
    for number in 0..120_u64 {
        let entry = NewEntry {
            id: format!("m{number}").parse::<MessageId>().unwrap(),
            role: Role::User,
            text: UserText::new("hola"),
            at: now(),
            finish: None,
            source: None,
            help: None,
        };
        fixture.store.append(user, number, entry).await.unwrap();
    }
    // Longer than the write timeout: waiting for the store is no stalled write.
    fixture.store.set_delay(TIMEOUTS.write * 2);
    let mut program = fixture.connect();
    program.send(&json!({"type": "hello", "v": 1, "resume": token.expose(), "since": 0}).to_string()).await;
    let mut want = vec!["welcome".to_owned(), "notice ai".to_owned()];
    want.extend((1..=120).map(|seq| format!("turn {seq}")));
    let lines = program.lines(want.len()).await;
    assert_eq!(lines.iter().map(|line| kind(line)).collect::<Vec<_>>(), want);
    fixture.store.set_delay(Duration::ZERO);
    program.send(r#"{"type":"ping"}"#).await;
    assert_eq!(kind(&program.line().await), "pong");
}

#[tokio::test(start_paused = true)]
async fn failed_replay_delivers_no_later_frame() {
    let fixture = Fixture::new();
    let opened = fixture.context.sessions.create(true, None, None).await.unwrap();
    let token = opened.key.token.clone();
    let mut first = fixture.connect();
    first.send(&json!({"type": "hello", "v": 1, "resume": token.expose()}).to_string()).await;
    first.send(&json!({"type": "message", "id": "a", "text": "hola"}).to_string()).await;
    while kind(&first.line().await) != "done" {}
    fixture.store.set_delay(Duration::from_secs(1));
    let mut second = fixture.connect();
    second.send(&json!({"type": "hello", "v": 1, "resume": token.expose(), "since": 0}).to_string()).await;
    assert_eq!(kind(&second.line().await), "welcome");
    assert_eq!(kind(&second.line().await), "notice ai");
    fixture.store.set_available(false);
    assert_eq!(second.end().await, (vec![], CloseReason::Internal));
}

#[tokio::test(start_paused = true)]
async fn phases_of_a_framed_connection() {
    let fixture = Fixture::new();
    let mut program = fixture.connect_as(Fixture::peer(Some(Face::Frames)));
    program.peer.cut();
    let mut program = fixture.connect();
    let welcome = json!({"type": "hello", "v": 1}).to_string();
    let about = r#"{"type":"request","id":"r","method":"about"}"#;
    let ping = r#"{"type":"ping"}"#;
    for (line, want) in [
        (ping, &["error hello_required"][..]),
        (about, &["response"]),
        (&welcome, &["welcome", "notice ai"]),
        (&welcome, &["error bad_frame"]),
        (ping, &["pong"]),
        (about, &["response"]),
        (r#"{"type":"stop","id":"x"}"#, &["error not_found"]),
    ] {
        // The first frame decides only if it is `hello`.
        program.send(line).await;
        let seen = program.lines(want.len()).await;
        assert_eq!(seen.iter().map(|line| kind(line)).collect::<Vec<_>>(), want, "{line}");
    }
    program.send(r#"{"type":"request","id":"s","method":"session"}"#).await;
    let session: Value = serde_json::from_str(&program.line().await).unwrap();
    let confirm = &session["result"]["session"];
    program
        .send(&json!({"type": "request", "id": "e", "method": "erase", "params": {"confirm": confirm}}).to_string())
        .await;
    assert_eq!(kind(&program.line().await), "response");
    program.send(ping).await;
    assert_eq!(kind(&program.line().await), "error hello_required", "the session is gone");
    program.send(&welcome).await;
    assert_eq!(kind(&program.line().await), "welcome");
    program.send(r#"{"type":"bye"}"#).await;
    assert_eq!(program.end().await.1, CloseReason::Bye);
}

#[tokio::test(start_paused = true)]
async fn announced_frames_without_hello_time_out() {
    let fixture = Fixture::new();
    let begin = Instant::now();
    let program = fixture.connect_as(Fixture::peer(Some(Face::Frames)));
    assert_eq!(program.end().await, (vec![], CloseReason::HandshakeTimeout));
    assert_eq!(begin.elapsed().as_secs(), TIMEOUTS.handshake.as_secs());
}

#[tokio::test(start_paused = true)]
async fn drain_ends_every_mode() {
    for (face, lines) in [(Some(Face::Frames), 0), (Some(Face::Plain), 3), (None, 3)] {
        let fixture = Fixture::new();
        let mut client = fixture.connect_as(Fixture::peer(face));
        client.lines(lines).await;
        fixture.context.draining.cancel();
        let begin = Instant::now();
        assert_eq!(client.end().await, (vec![], CloseReason::Draining), "{face:?}");
        assert_eq!(begin.elapsed(), LINGER, "a message on its way may call for help");
    }
}

#[tokio::test(start_paused = true)]
async fn bye_ends_a_connection_in_a_drain_at_once() {
    for (hello, bye) in [(None, "salir"), (Some(r#"{"type":"hello","v":1}"#), r#"{"type":"bye"}"#)] {
        let fixture = Fixture::new();
        let mut client = fixture.connect();
        if let Some(hello) = hello {
            client.send(hello).await;
        }
        client.lines(if hello.is_some() { 2 } else { 3 }).await;
        fixture.context.draining.cancel();
        client.send(bye).await;
        let begin = Instant::now();
        assert_eq!(client.end().await.1, CloseReason::Bye, "{bye}");
        assert_eq!(begin.elapsed(), Duration::ZERO, "{bye}");
    }
}

#[tokio::test(start_paused = true)]
async fn drain_stops_an_answer_and_refuses_a_request() {
    let fixture = Fixture::new();
    let mut program = fixture.connect();
    program.send(r#"{"type":"hello","v":1}"#).await;
    program.lines(2).await;
    fixture.store.set_delay(Duration::from_secs(1));
    program.send(r#"{"type":"message","id":"m","text":"hola"}"#).await;
    assert_eq!(kind(&program.line().await), "accepted");
    fixture.context.draining.cancel();
    program.send(r#"{"type":"request","id":"r","method":"history"}"#).await;
    program.send(r#"{"type":"stop","id":"m"}"#).await;
    let (lines, reason) = program.end().await;
    let kinds: Vec<_> = lines.iter().map(|line| kind(line)).collect();
    assert_eq!(kinds, ["notice draining", "done", "error shutting_down"]);
    assert!(lines[1].contains(r#""finish":"stopped""#), "{}", lines[1]);
    assert_eq!(reason, CloseReason::Draining);
}

#[tokio::test(start_paused = true)]
async fn failed_commands_of_the_plain_face_are_answered() {
    let fixture = Fixture::new();
    let mut person = fixture.connect();
    person.lines(3).await;
    fixture.store.set_available(false);
    let token = protocol::ResumeToken::random().expose();
    for command in ["/historial", "/plan", "/idioma en", "/pais AR", &format!("/reanudar {token}"), "/borrar"] {
        person.send(command).await;
        if command == "/borrar" {
            assert_eq!(person.line().await, texts::confirm_erase(Language::default()));
            person.send(command).await;
        }
        assert_eq!(person.line().await, unavailable_line(), "{command}");
    }
    fixture.store.set_available(true);
    for (command, want) in [
        ("/historial", texts::no_history(Language::Spanish)),
        ("/idioma en", texts::language_changed(Language::English)),
        ("/plan", texts::no_plan(Language::English)),
        ("/borrar", texts::confirm_erase(Language::English)),
        ("/borrar", texts::erased(Language::English)),
    ] {
        person.send(command).await;
        assert_eq!(person.line().await, want, "{command}");
    }
    assert_eq!(person.end().await, (vec![], CloseReason::Erased));
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_delay_the_next_line() {
    let fixture = Fixture::new();
    let mut program = fixture.connect();
    program.send(&json!({"type": "hello", "v": 1}).to_string()).await;
    program.lines(2).await;
    fixture.store.set_delay(Duration::from_secs(1));
    for number in 0..=MAX_REQUESTS {
        let id = format!("r{number}");
        program.send(&json!({"type": "request", "id": id, "method": "history"}).to_string()).await;
    }
    program.send(r#"{"type":"ping"}"#).await;
    let begin = Instant::now();
    let seen = program.lines(MAX_REQUESTS + 2).await;
    let pong = seen.iter().position(|line| kind(line) == "pong");
    assert_eq!(pong, Some(2), "the last request waits for one response, the ping for another: {seen:?}");
    assert_eq!(begin.elapsed().as_secs(), 5, "two requests run at once");
}

#[tokio::test(start_paused = true)]
async fn help_waits_for_no_session_and_is_not_repeated() {
    let fixture = Fixture::new();
    fixture.store.set_delay(Duration::from_secs(60));
    let mut program = fixture.connect();
    program.send(&json!({"type": "hello", "v": 1, "country": "AR"}).to_string()).await;
    program.send(&json!({"type": "message", "id": "m", "text": "me quiero matar"}).to_string()).await;
    let begin = Instant::now();
    let support: Value = serde_json::from_str(&program.line().await).unwrap();
    assert_eq!((support["type"].as_str(), begin.elapsed()), (Some("support"), Duration::ZERO));
    assert_eq!(support["resources"][0]["country"], "AR", "{support}");
    fixture.store.set_delay(Duration::ZERO);
    let mut seen = vec![kind(&program.line().await)];
    while seen.last().is_some_and(|last| last != "done") {
        seen.push(kind(&program.line().await));
    }
    seen.dedup();
    let frames = ["welcome", "notice ai", "accepted", "turn 2", "delta", "done"];
    assert_eq!(seen, frames, "the stored help comes as an entry");
}

#[tokio::test(start_paused = true)]
async fn country_of_a_person_needs_a_store_and_a_name() {
    let fixture = Fixture::new();
    let mut person = fixture.connect();
    person.lines(3).await;
    let language = Language::default();
    let argentina = "AR".parse().unwrap();
    for (line, want) in [
        ("/pais", texts::country_missing(language).to_owned()),
        ("/pais Atlantis", texts::country_unknown(language).to_owned()),
        ("/pais argentina", texts::country_chosen(language, argentina)),
    ] {
        person.send(line).await;
        assert_eq!(person.line().await, want, "{line}");
    }
    person.send("/crisis").await;
    person.send("/ia").await;
    let mut lines = vec![person.line().await];
    while lines.last().is_some_and(|last| last != safety::guide::notice(language)) {
        lines.push(person.line().await);
    }
    assert!(lines.iter().any(|line| line.contains("135")), "no line of Argentina: {lines:?}");
}
