//! PostgreSQL killed and restarted under load: the core recovers by itself.

use serde_json::json;
use testkit::line_peer::LinePeer;
use testkit::llm::Answer;
use testkit::watchdog::{LIMIT, within};

use super::client_fleet::{PEOPLE, connect_fleet, plan, run_fleet_during, tcp, ws};
use super::interrupted_turn::{all_is_well_again, is_answered, is_unavailable, listening};
use super::seeded_rng::seeded_rng;
use super::sqlite_node::{SqliteNode, connect_client};
use crate::postgres::Server;
use crate::test_client::TestClient;

const ROUNDS: usize = 5;

#[tokio::test]
async fn accepted_messages_survive_postgresql_kills() {
    let mut rng = seeded_rng("postgres_away");
    let (server, url) = Server::start().await;
    let mut node = plan().core("DATABASE_URL", url).gateways(1).start().await;
    let (core, gateway) = (node.core.address(), node.gateway().address());
    let addresses = (0..PEOPLE).map(|number| if number % 2 == 0 { ws(gateway) } else { tcp(core) });
    let mut people = within(LIMIT, connect_fleet(addresses)).await.unwrap();
    let core = &mut node.core;
    run_fleet_during(&mut people, async |pulse| {
        for round in 1..=ROUNDS {
            pulse.random_moment(&mut rng).await;
            server.stop().await;
            // Both in the last round.
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
    // Until the last round no client lost its connection: only the database was down.
    assert!(people.iter().all(|person| person.resumed == 1));
}

#[tokio::test]
async fn outage_mid_turn_loses_nothing() {
    let (server, url) = Server::start().await;
    let node = SqliteNode::new().await;
    let core = node.core(&[("DATABASE_URL", url)]).await;
    let (mut speaker, _) = connect_client(&core, None).await;
    let (mut listener, held) = listening(&node, &core).await;
    server.stop().await;
    drop(held);

    speaker.say("b", "¿estás?").await;
    is_unavailable(&speaker.frame().await, "b");
    core.wait_for("the answer could not be stored yet").await;
    let (_, received) = connect_client(&core, None).await;
    assert_eq!(received["code"], "unavailable", "{received}");
    server.start_again().await;
    all_is_well_again(&mut speaker, "¿estás?").await;
    is_answered(&mut listener).await;
}

#[tokio::test]
async fn failed_replay_delivers_no_later_entries() {
    let (server, url) = Server::start().await;
    let node = SqliteNode::new().await;
    let core = node.core(&[("DATABASE_URL", url)]).await;
    let (mut speaker, welcome) = connect_client(&core, None).await;
    let _held = node.standin.push_held(Answer::pieces(["Te ", "escucho."]), 1);
    speaker.say("a", "hola").await;
    assert_eq!(speaker.frame_of("delta").await["text"], "Te ");

    server.with(|postgres| drop(postgres.sql("psicoia", "ALTER TABLE entries RENAME TO elsewhere").unwrap())).await;
    let mut again = TestClient::new(LinePeer::connect(core.address()).await.unwrap());
    again.send(json!({"type": "hello", "v": 1, "resume": welcome["resume"], "since": 0})).await;
    assert_eq!(again.frame().await["type"], "welcome");
    assert!(again.line().await.contains(r#""code":"ai""#));
    assert_eq!(again.read().await, None, "without its message the answer is not received");
    server.with(|postgres| drop(postgres.sql("psicoia", "ALTER TABLE elsewhere RENAME TO entries").unwrap())).await;
}

#[tokio::test]
async fn core_does_not_start_without_its_database() {
    let (server, url) = Server::start().await;
    server.stop().await;
    let url = url.replace("postgres@", "postgres:contrasena@");
    let node = SqliteNode::new().await;
    let output = node.run(&[("DATABASE_URL", url)], None).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("postgres://127.0.0.1:") && text.contains("/psicoia"), "{text}");
    assert!(!text.contains("contrasena"), "{text}");
}
