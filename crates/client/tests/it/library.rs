use std::time::Duration;

use client::{Builder, Client, Closed, ErrorCode, Event, Locale, NoticeCode, RequestError, Role};
use testkit::watchdog::{LIMIT, within};
use tokio::net::TcpListener;

use crate::fixture::{Fixture, one_piece, slow_answer};
use crate::scripted_server::{ScriptedConnections, WELCOME};

fn to(address: impl std::fmt::Display) -> Builder {
    let quick = Duration::from_millis(10);
    Client::builder(address.to_string().parse().unwrap()).client_name("tests").backoff(quick, quick)
}

/// Next event, skipping the AI notice that follows every `welcome`.
async fn next(client: &mut Client) -> Event {
    loop {
        let event = within(LIMIT, client.next_event()).await.unwrap().unwrap();
        if !matches!(event, Event::Notice { code: NoticeCode::Ai, .. }) {
            return event;
        }
    }
}

/// Events up to and including the first that matches.
async fn until(client: &mut Client, fits: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut events = Vec::new();
    while !events.last().is_some_and(&fits) {
        events.push(next(client).await);
    }
    events
}

fn is_done(event: &Event) -> bool {
    matches!(event, Event::Done(_))
}

#[tokio::test]
async fn answer_survives_disconnects() {
    let want = slow_answer().pieces.concat();
    let fixture = Fixture::start(slow_answer(), &[]).await;
    for (scheme, target, path) in [("tcp", fixture.core, ""), ("ws", fixture.gateway, "/ws")] {
        let proxy = fixture.flaky_proxy(target).await;
        let mut client = to(format!("{scheme}://{}{path}", proxy.address)).connect().await.unwrap();
        let id = client.send("hola").unwrap();
        let (mut text, mut seqs, mut connected, mut cuts) = (String::new(), Vec::new(), 0, 0);
        loop {
            match next(&mut client).await {
                Event::Connected(_) => connected += 1,
                Event::Accepted { seq, .. } => seqs.push(seq),
                Event::Delta { id: of, offset, text: piece } => {
                    assert_eq!((of, offset), (id.clone(), text.chars().count()));
                    text.push_str(piece.expose());
                    // Three times mid-answer: after the first delta of each connection.
                    if cuts < 3 && cuts < connected {
                        cuts += 1;
                        proxy.cut();
                    }
                }
                Event::Reconnecting { .. } => {}
                Event::Done(done) => {
                    seqs.extend(done.seq);
                    assert_eq!(done.chars, want.chars().count());
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((text.as_str(), seqs, connected), (want.as_str(), vec![1, 2], 4), "{scheme}");
        let page = client.history(None, 10).await.unwrap();
        assert_eq!(page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
        client.leave().await;
    }
}

#[tokio::test]
async fn sends_queued_message_after_reconnect() {
    let fixture = Fixture::start(one_piece("buenas"), &[]).await;
    let proxy = fixture.flaky_proxy(fixture.core).await;
    let mut client = to(format!("tcp://{}", proxy.address)).connect().await.unwrap();
    until(&mut client, |event| matches!(event, Event::Connected(_))).await;
    proxy.cut();
    until(&mut client, |event| matches!(event, Event::Reconnecting { .. })).await;
    assert!(!client.is_connected());
    let id = client.send("hola").unwrap();
    let events = until(&mut client, is_done).await;
    assert!(
        matches!(&events[..], [Event::Connected(_), Event::Accepted { id: a, seq: 1 }, .., Event::Done(done)]
        if *a == id && done.id == id),
        "{events:?}"
    );
    assert_eq!(client.unanswered(), 0);
}

#[tokio::test]
async fn shares_turns_between_devices_and_resumes() {
    let fixture = Fixture::start(one_piece("buenas"), &[]).await;
    let address = format!("tcp://{}", fixture.core);
    let mut one = to(&address).connect().await.unwrap();
    let token = one.resume_token().unwrap().expose().to_owned();
    let mut other = to(format!("ws://{}/ws", fixture.gateway)).resume(&token).connect().await.unwrap();
    until(&mut other, |event| matches!(event, Event::Connected(welcome) if welcome.resumed)).await;
    one.send("hola").unwrap();
    until(&mut one, is_done).await;
    let events = until(&mut other, is_done).await;
    assert!(
        matches!(&events[..], [Event::Turn(entry), Event::Delta { .. }, .., Event::Done(_)]
        if entry.role == Role::User && entry.text.expose() == "hola"),
        "{events:?}"
    );
    drop(other);

    let mut later = to(&address).resume(&token).since(0).connect().await.unwrap();
    let events = until(&mut later, |event| matches!(event, Event::Turn(entry) if entry.seq == 2)).await;
    assert!(matches!(&events[..], [Event::Connected(_), Event::Turn(_), Event::Turn(_)]), "{events:?}");
    assert_eq!(later.last_seq(), Some(2));
}

#[tokio::test]
async fn answers_requests_while_events_wait() {
    let fixture = Fixture::start(one_piece("buenas"), &[]).await;
    let mut client = to(format!("tcp://{}", fixture.core)).connect().await.unwrap();
    client.send("hola").unwrap();
    // Requested before any event was taken: events are kept.
    let session = client.session().await.unwrap();
    assert_eq!(Some(&session.session), client.session_id());
    until(&mut client, is_done).await;
    let english: Locale = "en".parse().unwrap();
    assert_eq!(client.set_locale(english).await, Ok(english));
    let page = client.export(1).await.unwrap();
    assert_eq!((page.entries.len(), page.entries[0].seq, page.more), (1, 2, false));
    let error = client.request("juggle", serde_json::Map::new()).await.unwrap_err();
    assert!(matches!(error, RequestError::Refused(error) if error.code == ErrorCode::UnknownMethod));
    assert_eq!(client.erase().await, Ok(2));
    let events = until(&mut client, |event| matches!(event, Event::Closed { .. })).await;
    assert_eq!(events.last(), Some(&Event::Closed { reason: Closed::Erased }));
    assert_eq!(client.next_event().await, None);
    assert_eq!(client.session().await, Err(RequestError::Closed));
}

#[tokio::test]
async fn reports_unknown_sessions_and_unreachable_servers() {
    let fixture = Fixture::start(one_piece("buenas"), &[]).await;
    let address = format!("tcp://{}", fixture.core);
    let unknown = "x".repeat(43);
    let error = to(&address).resume(&unknown).connect().await.unwrap_err();
    assert!(matches!(error.closed, Closed::BadResume { .. }), "{error}");

    let mut replaced = to(&address).resume(&unknown).allow_new_session(true).connect().await.unwrap();
    let (first, second) = (next(&mut replaced).await, next(&mut replaced).await);
    assert_eq!(first, Event::SessionLost);
    assert!(matches!(second, Event::Connected(welcome) if !welcome.resumed));

    let closed_address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for scheme in ["tcp", "ws"] {
        let error = to(format!("{scheme}://{closed_address}")).initial_attempts(3).connect().await.unwrap_err();
        assert!(matches!(error.closed, Closed::Unreachable { .. }), "{error}");
    }
    let error = to(format!("ws://{}/nothing-here", fixture.gateway)).initial_attempts(3).connect().await.unwrap_err();
    assert!(matches!(error.closed, Closed::Refused { .. }), "{error}");
}

#[tokio::test]
async fn stops_an_answer() {
    let fixture = Fixture::start(slow_answer(), &[]).await;
    let mut client = to(format!("tcp://{}", fixture.core)).connect().await.unwrap();
    let id = client.send("hola").unwrap();
    until(&mut client, |event| matches!(event, Event::Delta { .. })).await;
    client.stop(&id).unwrap();
    let events = until(&mut client, is_done).await;
    assert!(matches!(events.last(), Some(Event::Done(done)) if done.finish == client::Finish::Stopped), "{events:?}");
}

/// Paused clock; the server accepts and sends nothing.
#[tokio::test(start_paused = true)]
async fn connect_times_out_on_a_silent_server() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", server.local_addr().unwrap());
    let begin = tokio::time::Instant::now();
    let error = to(&address).connect_timeout(Duration::from_secs(7)).connect().await.unwrap_err();
    assert!(matches!(error.closed, Closed::Unreachable { .. }), "{error}");
    assert_eq!(begin.elapsed().as_secs(), 7);
}

/// Paused clock; the server never answers `bye`.
#[tokio::test(start_paused = true)]
async fn leave_is_bounded_on_a_dead_connection() {
    let server = ScriptedConnections::start(vec![(WELCOME.to_owned(), true)]).await;
    let client = to(format!("tcp://{}", server.address)).connect().await.unwrap();
    let begin = tokio::time::Instant::now();
    client.leave().await;
    assert_eq!(begin.elapsed().as_secs(), 1);
}

/// A final refusal becomes retryable after the first `welcome`: a captive portal after a sleep.
#[tokio::test]
async fn reconnects_through_a_captive_portal() {
    let portal = || ("HTTP/1.1 403 Forbidden".to_owned(), false);
    let script = vec![(WELCOME.to_owned(), false), portal(), portal(), (WELCOME.to_owned(), true)];
    let server = ScriptedConnections::start(script).await;
    let mut client = to(format!("tcp://{}", server.address)).connect().await.unwrap();
    let connected = |event: &Event| matches!(event, Event::Connected(_));
    until(&mut client, connected).await;
    let events = until(&mut client, connected).await;
    assert!(events.iter().filter(|event| matches!(event, Event::Reconnecting { .. })).count() >= 3, "{events:?}");

    let server = ScriptedConnections::start(vec![portal()]).await;
    let error = to(format!("tcp://{}", server.address)).initial_attempts(3).connect().await.unwrap_err();
    assert!(error.to_string().contains("ws://"), "{error}");
}

#[tokio::test]
async fn person_has_their_data_in_hand() {
    let fixture = Fixture::start(one_piece("buenas"), &[]).await;
    let mut first = to(fixture.core).connect().await.unwrap();
    first.send("hola").unwrap();
    until(&mut first, is_done).await;
    // Another device, by a code.
    let (code, valid) = first.link().await.unwrap();
    assert_eq!(valid, Duration::from_secs(600));
    let mut second = to(fixture.core).resume(code.expose().to_lowercase()).since(0).connect().await.unwrap();
    until(&mut second, |event| matches!(event, Event::Turn(entry) if entry.seq == 2)).await;
    assert_eq!(second.resume_token(), first.resume_token());
    let again = to(fixture.core).resume(code.expose()).connect().await.unwrap_err().closed;
    assert!(matches!(again, Closed::BadResume { .. }), "{again:?}");
    assert_eq!(second.summary().await.unwrap(), None);
    second.forget_summary().await.unwrap();
    let forgotten = second.forget_last().await.unwrap().unwrap();
    let is_forgotten = |event: &Event| matches!(event, Event::Forgotten { id } if *id == forgotten);
    until(&mut first, is_forgotten).await;
    until(&mut second, is_forgotten).await;
    assert_eq!(second.forget_last().await.unwrap(), None);
    assert_eq!(first.history(None, 9).await.unwrap().entries, []);
    // The others are closed, and their token is dead.
    let token = second.rotate_resume().await.unwrap();
    assert_eq!(second.resume_token(), Some(&token));
    let closed = until(&mut first, |event| matches!(event, Event::Closed { .. })).await;
    assert!(matches!(closed.last(), Some(Event::Closed { reason: Closed::BadResume { .. } })), "{closed:?}");
    assert_eq!(second.session().await.unwrap().seq, 3);
    let mut third = to(fixture.core).resume(token.expose()).connect().await.unwrap();
    assert_eq!(third.session().await.unwrap().seq, 3);
}

#[tokio::test]
async fn session_without_keeping_is_not_stored() {
    let fixture = Fixture::start(one_piece("buenas"), &[]).await;
    let mut client = to(fixture.core).without_keeping().connect().await.unwrap();
    assert!(matches!(next(&mut client).await, Event::Connected(welcome) if !welcome.kept));
    client.send("hola").unwrap();
    until(&mut client, is_done).await;
    let token = client.resume_token().unwrap().clone();
    let mut again = to(fixture.core).resume(token.expose()).connect().await.unwrap();
    assert!(matches!(next(&mut again).await, Event::Connected(welcome) if !welcome.kept && welcome.seq == 2));
}
