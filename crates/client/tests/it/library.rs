use std::time::Duration;

use client::{Builder, Client, Closed, ErrorCode, Event, Locale, NoticeCode, RequestError, Role};
use testkit::watchdog::{LIMIT, within};
use tokio::net::TcpListener;

use crate::silent::{Silent, WELCOME};
use crate::world::{World, says, slow};

fn to(address: impl std::fmt::Display) -> Builder {
    let quick = Duration::from_millis(10);
    Client::builder(address.to_string().parse().unwrap()).client_name("tests").backoff(quick, quick)
}

/// The next event but the notice that follows every `welcome`.
async fn next(client: &mut Client) -> Event {
    loop {
        let event = within(LIMIT, client.next_event()).await.unwrap().unwrap();
        if !matches!(event, Event::Notice { code: NoticeCode::Ai, .. }) {
            return event;
        }
    }
}

/// Events up to the first that fits, that one included.
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
async fn an_answer_survives_its_connections() {
    let want = slow().pieces.concat();
    let world = World::start(slow(), &[]).await;
    for (scheme, target, path) in [("tcp", world.core, ""), ("ws", world.gateway, "/ws")] {
        let relay = world.relay(target).await;
        let mut client = to(format!("{scheme}://{}{path}", relay.address)).connect().await.unwrap();
        let id = client.send("hola").unwrap();
        let (mut text, mut seqs, mut connected, mut cuts) = (String::new(), Vec::new(), 0, 0);
        loop {
            match next(&mut client).await {
                Event::Connected(_) => connected += 1,
                Event::Accepted { seq, .. } => seqs.push(seq),
                Event::Delta { id: of, offset, text: piece } => {
                    assert_eq!((of, offset), (id.clone(), text.chars().count()));
                    text.push_str(piece.expose());
                    // In mid-answer, three times: as soon as each connection has brought something.
                    if cuts < 3 && cuts < connected {
                        cuts += 1;
                        relay.cut();
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
async fn a_message_sent_without_a_connection_is_sent_with_the_next() {
    let world = World::start(says("buenas"), &[]).await;
    let relay = world.relay(world.core).await;
    let mut client = to(format!("tcp://{}", relay.address)).connect().await.unwrap();
    until(&mut client, |event| matches!(event, Event::Connected(_))).await;
    relay.cut();
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
async fn devices_hear_of_each_other_and_sessions_are_resumed() {
    let world = World::start(says("buenas"), &[]).await;
    let address = format!("tcp://{}", world.core);
    let mut one = to(&address).connect().await.unwrap();
    let token = one.resume_token().unwrap().expose().to_owned();
    let mut other = to(format!("ws://{}/ws", world.gateway)).resume(&token).connect().await.unwrap();
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
async fn requests() {
    let world = World::start(says("buenas"), &[]).await;
    let mut client = to(format!("tcp://{}", world.core)).connect().await.unwrap();
    client.send("hola").unwrap();
    // Asked before a single event was taken: they are kept.
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
async fn what_is_gone_is_said_and_not_tried_for_ever() {
    let world = World::start(says("buenas"), &[]).await;
    let address = format!("tcp://{}", world.core);
    let unknown = "x".repeat(43);
    let error = to(&address).resume(&unknown).connect().await.unwrap_err();
    assert!(matches!(error.closed, Closed::BadResume { .. }), "{error}");

    let mut anew = to(&address).resume(&unknown).begin_anew(true).connect().await.unwrap();
    let (first, second) = (next(&mut anew).await, next(&mut anew).await);
    assert_eq!(first, Event::SessionLost);
    assert!(matches!(second, Event::Connected(welcome) if !welcome.resumed));

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for scheme in ["tcp", "ws"] {
        let error = to(format!("{scheme}://{nobody}")).first_attempts(3).connect().await.unwrap_err();
        assert!(matches!(error.closed, Closed::GaveUp { .. }), "{error}");
    }
    let error = to(format!("ws://{}/nothing-here", world.gateway)).first_attempts(3).connect().await.unwrap_err();
    assert!(matches!(error.closed, Closed::Refused { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_is_stopped() {
    let world = World::start(slow(), &[]).await;
    let mut client = to(format!("tcp://{}", world.core)).connect().await.unwrap();
    let id = client.send("hola").unwrap();
    until(&mut client, |event| matches!(event, Event::Delta { .. })).await;
    client.stop(&id).unwrap();
    let events = until(&mut client, is_done).await;
    assert!(matches!(events.last(), Some(Event::Done(done)) if done.finish == client::Finish::Stopped), "{events:?}");
}

/// A server that accepts and then says nothing at all, on a clock that stands still.
#[tokio::test(start_paused = true)]
async fn silence_is_found_out() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", silent.local_addr().unwrap());
    let begin = tokio::time::Instant::now();
    let error = to(&address).connect_limit(Duration::from_secs(7)).connect().await.unwrap_err();
    assert!(matches!(error.closed, Closed::GaveUp { .. }), "{error}");
    assert_eq!(begin.elapsed().as_secs(), 7);
}

/// Virtual time: a dead link does not keep a client that leaves.
#[tokio::test(start_paused = true)]
async fn to_leave_takes_no_longer_than_a_good_bye() {
    let silent = Silent::start(vec![(WELCOME.to_owned(), true)]).await;
    let client = to(format!("tcp://{}", silent.address)).connect().await.unwrap();
    let begin = tokio::time::Instant::now();
    client.leave().await;
    assert_eq!(begin.elapsed().as_secs(), 1);
}

/// What refuses for good at first is passing once there was a welcome: a captive portal after a sleep.
#[tokio::test]
async fn something_else_in_the_way_of_a_reconnect_is_not_the_end() {
    let portal = || ("HTTP/1.1 403 Forbidden".to_owned(), false);
    let script = vec![(WELCOME.to_owned(), false), portal(), portal(), (WELCOME.to_owned(), true)];
    let silent = Silent::start(script).await;
    let mut client = to(format!("tcp://{}", silent.address)).connect().await.unwrap();
    let connected = |event: &Event| matches!(event, Event::Connected(_));
    until(&mut client, connected).await;
    let events = until(&mut client, connected).await;
    assert!(events.iter().filter(|event| matches!(event, Event::Reconnecting { .. })).count() >= 3, "{events:?}");

    let silent = Silent::start(vec![portal()]).await;
    let error = to(format!("tcp://{}", silent.address)).first_attempts(3).connect().await.unwrap_err();
    assert!(error.to_string().contains("ws://"), "{error}");
}
