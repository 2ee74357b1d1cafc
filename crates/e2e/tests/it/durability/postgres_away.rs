//! PostgreSQL that dies and comes back while people talk: the core recovers by itself.

use serde_json::json;
use testkit::line_peer::LinePeer;
use testkit::llm::Answer;
use testkit::watchdog::{LIMIT, within};

use super::chance::chance;
use super::crowd::{PEOPLE, gather, plan, talk_while, tcp, ws};
use super::house::{House, visit};
use super::mid_turn::{all_is_well_again, is_answered, is_unavailable, listening};
use crate::person::Person;
use crate::postgres::Server;

const ROUNDS: usize = 5;

#[tokio::test]
async fn what_was_accepted_outlives_postgresql() {
    let mut chance = chance("postgres_away");
    let (server, url) = Server::start().await;
    let mut town = plan().core("DATABASE_URL", url).gateways(1).start().await;
    let (core, gateway) = (town.core.address(), town.gateway().address());
    let addresses = (0..PEOPLE).map(|number| if number % 2 == 0 { ws(gateway) } else { tcp(core) });
    let mut people = within(LIMIT, gather(addresses)).await.unwrap();
    let core = &mut town.core;
    talk_while(&mut people, async |pulse| {
        for round in 1..=ROUNDS {
            pulse.random_moment(&mut chance).await;
            server.stop().await;
            // The last time both.
            if round == ROUNDS {
                core.kill().await;
            }
            server.start_again().await;
            if round == ROUNDS {
                core.restart().await;
            }
        }
    })
    .await;
    // Up to the last round nobody lost the connection: only the database was away.
    assert!(people.iter().all(|person| person.resumed == 1));
}

#[tokio::test]
async fn a_database_that_is_away_in_mid_turn_loses_nothing() {
    let (server, url) = Server::start().await;
    let house = House::new().await;
    let core = house.core(&[("DATABASE_URL", url)]).await;
    let (mut speaker, _) = visit(&core, None).await;
    let (mut listener, held) = listening(&house, &core).await;
    server.stop().await;
    drop(held);

    speaker.say("b", "¿estás?").await;
    is_unavailable(&speaker.frame().await, "b");
    core.wait_for("the answer could not be stored yet").await;
    let (_, told) = visit(&core, None).await;
    assert_eq!(told["code"], "unavailable", "{told}");
    server.start_again().await;
    all_is_well_again(&mut speaker, "¿estás?").await;
    is_answered(&mut listener).await;
}

#[tokio::test]
async fn what_comes_after_a_replay_that_broke_off_is_not_told() {
    let (server, url) = Server::start().await;
    let house = House::new().await;
    let core = house.core(&[("DATABASE_URL", url)]).await;
    let (mut speaker, welcome) = visit(&core, None).await;
    let _held = house.standin.push_held(Answer::pieces(["Te ", "escucho."]), 1);
    speaker.say("a", "hola").await;
    assert_eq!(speaker.frame_of("delta").await["text"], "Te ");

    server.with(|postgres| drop(postgres.sql("psicoia", "ALTER TABLE entries RENAME TO elsewhere").unwrap())).await;
    let mut again = Person::new(LinePeer::connect(core.address()).await.unwrap());
    again.send(json!({"type": "hello", "v": 1, "resume": welcome["resume"], "since": 0})).await;
    assert_eq!(again.frame().await["type"], "welcome");
    assert!(again.line().await.contains(r#""code":"ai""#));
    assert_eq!(again.read().await, None, "without its message the answer is not told");
    server.with(|postgres| drop(postgres.sql("psicoia", "ALTER TABLE elsewhere RENAME TO entries").unwrap())).await;
}

#[tokio::test]
async fn a_core_does_not_start_without_its_database() {
    let (server, url) = Server::start().await;
    server.stop().await;
    let url = url.replace("postgres@", "postgres:contrasena@");
    let house = House::new().await;
    let output = house.run(&[("DATABASE_URL", url)], None).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("postgres://127.0.0.1:") && text.contains("/psicoia"), "{text}");
    assert!(!text.contains("contrasena"), "{text}");
}
