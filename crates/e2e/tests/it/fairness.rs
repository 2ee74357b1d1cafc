//! Fairness of the queue and of requests.

use protocol::Face;
use serde_json::json;
use testkit::line_peer::LinePeer;
use testkit::llm::Answer;
use testkit::watchdog::until;

use crate::postgres::Server;
use crate::single_node::Plan;
use crate::test_client::TestClient;

const MANY: usize = 50;

#[tokio::test]
async fn one_busy_user_delays_another_by_one_turn() {
    let plan = Plan::default().core("MAX_IN_FLIGHT", 1).core("PER_USER_MAX", MANY).core("RATE_MAX_MESSAGES", 1_000);
    let node = plan.start().await;
    let held = node.standin.push_held(Answer::text("ya va"), 0);
    let mut eager = node.at_core().await;
    eager.hello().await;
    let mut other = node.at_core().await;
    other.hello().await;
    for number in 0..MANY {
        eager.say(&format!("m{number}"), "yo otra vez").await;
    }
    for _ in 0..MANY {
        eager.frame_of("accepted").await;
    }
    assert_eq!(node.standin.total(), 1, "the first is still being answered");
    other.say("a", "y yo").await;
    other.frame_of("queued").await;
    drop(held);
    assert_eq!(other.answer("a").await.text, "eco: y yo");
    let requests = node.standin.requests();
    let said = |index: usize| requests[index].body()["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    assert_eq!((said(0), said(1)), (json!("yo otra vez"), json!("y yo")));
}

#[tokio::test]
async fn new_session_keeps_the_address_limit() {
    let plan = Plan::with_gateway().core("RATE_MAX_MESSAGES", 2).core("RATE_ADDRESS_FACTOR", 2);
    let node = plan.start().await;
    for newcomer in 0..2 {
        let mut person = node.at_gateway(protocol::Face::Frames).await;
        person.hello().await;
        for number in 0..2 {
            person.ask(&format!("m{number}"), &format!("soy {newcomer}")).await;
        }
    }
    let mut third = node.at_gateway(protocol::Face::Frames).await;
    third.hello().await;
    third.say("m", "y ahora").await;
    let refused = third.frame().await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("rate_limited")), "{refused}");
    assert!((1..=60_000).contains(&refused["retry_after_ms"].as_u64().unwrap()), "{refused}");
}

/// The refusal must not go only to a connection that is dead without the server's knowledge.
#[tokio::test]
async fn last_sender_gets_the_outcome() {
    let node = Plan::default().core("MAX_IN_FLIGHT", 1).core("QUEUE_TIMEOUT_SECONDS", 2).start().await;
    node.standin.push(Answer::text("ya va").paced(60_000, 0));
    let mut other = node.at_core().await;
    other.hello().await;
    other.say("o", "tengo para rato").await;
    other.frame_of("accepted").await;
    let mut dead = node.at_core().await;
    let welcome = dead.hello().await;
    dead.say("a", "hola").await;
    assert_eq!(dead.frame_of("queued").await["id"], "a");
    let mut again = node.at_core().await;
    again.send(json!({"type": "hello", "v": 1, "resume": welcome["resume"]})).await;
    again.frame_of("welcome").await;
    again.say("a", "hola").await;
    assert_eq!(again.frame_of("accepted").await["seq"], 1);
    let error = again.frame_of("error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("overloaded"), &json!("a")), "{error}");
}

/// Database connections that wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'psicoia' AND wait_event_type = 'Lock'";

#[tokio::test]
async fn bounds_concurrent_requests_per_connection_and_address() {
    let (postgres, url) = Server::start().await;
    let node = Plan::default().core("DATABASE_URL", &url).start().await;
    let (mut eager, mut other) = (node.at_core().await, node.at_core().await);
    eager.hello().await;
    other.hello().await;
    let mut crowd = Vec::new();
    for _ in 0..6 {
        let mut person = node.at_core().await;
        person.hello().await;
        crowd.push(person);
    }
    let address = "203.0.113.9:40000".parse().unwrap();
    let other_address = LinePeer::connect_as_gateway(node.core.address(), address, Face::Frames).await.unwrap();
    let mut other_address = TestClient::new(other_address);
    other_address.hello().await;
    let lock = "BEGIN; LOCK TABLE entries IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)";
    postgres.with(move |postgres| postgres.begin_sql("psicoia", lock).unwrap()).await;
    let is_locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted \
                     AND relation = 'entries'::regclass";
    until(async || postgres.sql(is_locked).await == "1").await.unwrap();

    let history = |id: &str| json!({"type": "request", "id": id, "method": "history", "timeout_ms": 30_000});
    for number in 0..7 {
        eager.send(history(&number.to_string())).await;
    }
    // It is answered after all of them and does not wait for the lock.
    eager.send(json!({"type": "ping"})).await;
    eager.frame_of("pong").await;
    until(async || postgres.sql(WAITING).await == "2").await.unwrap();
    other.send(history("mine")).await;
    until(async || postgres.sql(WAITING).await == "3").await.unwrap();
    for _ in 0..3 {
        assert_eq!(postgres.sql(WAITING).await, "3");
    }

    // Eight requests of an address run, over any number of connections.
    for person in &mut crowd {
        person.send(history("a")).await;
        person.send(history("b")).await;
        person.send(json!({"type": "ping"})).await;
        person.frame_of("pong").await;
    }
    until(async || postgres.sql(WAITING).await == "8").await.unwrap();
    other_address.send(history("theirs")).await;
    until(async || postgres.sql(WAITING).await == "9").await.unwrap();

    let unlock = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                  WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()";
    postgres.sql(unlock).await;
    for _ in 0..7 {
        eager.frame_of("response").await;
    }
    assert_eq!(other.frame_of("response").await["id"], "mine");
    assert_eq!(other_address.frame_of("response").await["id"], "theirs");
    for person in &mut crowd {
        person.frame_of("response").await;
        person.frame_of("response").await;
    }
}
