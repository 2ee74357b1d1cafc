//! Who waits for the model, and behind whom.

use protocol::Face;
use serde_json::json;
use testkit::line_peer::LinePeer;
use testkit::llm::Answer;
use testkit::watchdog::until;

use crate::person::Person;
use crate::postgres::Server;
use crate::town::Plan;

const MANY: usize = 50;

#[tokio::test]
async fn fifty_messages_of_one_delay_another_by_one_turn() {
    let plan = Plan::default().core("MAX_IN_FLIGHT", 1).core("PER_USER_MAX", MANY).core("RATE_MAX_MESSAGES", 1_000);
    let town = plan.start().await;
    let held = town.standin.push_held(Answer::text("ya va"), 0);
    let mut eager = town.at_core().await;
    eager.hello().await;
    let mut other = town.at_core().await;
    other.hello().await;
    for number in 0..MANY {
        eager.say(&format!("m{number}"), "yo otra vez").await;
    }
    for _ in 0..MANY {
        eager.frame_of("accepted").await;
    }
    assert_eq!(town.standin.total(), 1, "the first is still being answered");
    other.say("a", "y yo").await;
    other.frame_of("queued").await;
    drop(held);
    assert_eq!(other.answer("a").await.text, "eco: y yo");
    let requests = town.standin.requests();
    let said = |index: usize| requests[index].body()["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    assert_eq!((said(0), said(1)), (json!("yo otra vez"), json!("y yo")));
}

#[tokio::test]
async fn who_begins_anew_has_the_same_limit() {
    let plan = Plan::with_gateway().core("RATE_MAX_MESSAGES", 2).core("RATE_ADDRESS_FACTOR", 2);
    let town = plan.start().await;
    for newcomer in 0..2 {
        let mut person = town.at_gateway(protocol::Face::Frames).await;
        person.hello().await;
        for number in 0..2 {
            person.ask(&format!("m{number}"), &format!("soy {newcomer}")).await;
        }
    }
    let mut third = town.at_gateway(protocol::Face::Frames).await;
    third.hello().await;
    third.say("m", "y ahora").await;
    let refused = third.frame().await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("rate_limited")), "{refused}");
    assert!((1..=60_000).contains(&refused["retry_after_ms"].as_u64().unwrap()), "{refused}");
}

/// A connection that is dead without our knowing must not be the only one that hears of a refusal.
#[tokio::test]
async fn whoever_sent_a_message_last_hears_what_becomes_of_it() {
    let town = Plan::default().core("MAX_IN_FLIGHT", 1).core("QUEUE_TIMEOUT_SECONDS", 2).start().await;
    town.standin.push(Answer::text("ya va").paced(60_000, 0));
    let mut other = town.at_core().await;
    other.hello().await;
    other.say("o", "tengo para rato").await;
    other.frame_of("accepted").await;
    let mut dead = town.at_core().await;
    let welcome = dead.hello().await;
    dead.say("a", "hola").await;
    assert_eq!(dead.frame_of("queued").await["id"], "a");
    let mut again = town.at_core().await;
    again.send(json!({"type": "hello", "v": 1, "resume": welcome["resume"]})).await;
    again.frame_of("welcome").await;
    again.say("a", "hola").await;
    assert_eq!(again.frame_of("accepted").await["seq"], 1);
    let error = again.frame_of("error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("overloaded"), &json!("a")), "{error}");
}

/// Connections of the database that wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'psicoia' AND wait_event_type = 'Lock'";

#[tokio::test]
async fn a_connection_has_two_requests_running_and_an_address_eight() {
    let (postgres, url) = Server::start().await;
    let town = Plan::default().core("DATABASE_URL", &url).start().await;
    let (mut eager, mut other) = (town.at_core().await, town.at_core().await);
    eager.hello().await;
    other.hello().await;
    let mut crowd = Vec::new();
    for _ in 0..6 {
        let mut person = town.at_core().await;
        person.hello().await;
        crowd.push(person);
    }
    let address = "203.0.113.9:40000".parse().unwrap();
    let elsewhere = LinePeer::connect_as_gateway(town.core.address(), address, Face::Frames).await.unwrap();
    let mut elsewhere = Person::new(elsewhere);
    elsewhere.hello().await;
    let lock = "BEGIN; LOCK TABLE entries IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)";
    postgres.with(move |postgres| postgres.begin_sql("psicoia", lock).unwrap()).await;
    let is_locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted \
                     AND relation = 'entries'::regclass";
    until(async || postgres.sql(is_locked).await == "1").await.unwrap();

    let history = |id: &str| json!({"type": "request", "id": id, "method": "history", "timeout_ms": 30_000});
    for number in 0..7 {
        eager.send(history(&number.to_string())).await;
    }
    // It is answered behind all of them, and waits for none.
    eager.send(json!({"type": "ping"})).await;
    eager.frame_of("pong").await;
    until(async || postgres.sql(WAITING).await == "2").await.unwrap();
    other.send(history("mine")).await;
    until(async || postgres.sql(WAITING).await == "3").await.unwrap();
    for _ in 0..3 {
        assert_eq!(postgres.sql(WAITING).await, "3");
    }

    // However many connections an address has, eight requests of it run.
    for person in &mut crowd {
        person.send(history("a")).await;
        person.send(history("b")).await;
        person.send(json!({"type": "ping"})).await;
        person.frame_of("pong").await;
    }
    until(async || postgres.sql(WAITING).await == "8").await.unwrap();
    elsewhere.send(history("theirs")).await;
    until(async || postgres.sql(WAITING).await == "9").await.unwrap();

    let unlock = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                  WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()";
    postgres.sql(unlock).await;
    for _ in 0..7 {
        eager.frame_of("response").await;
    }
    assert_eq!(other.frame_of("response").await["id"], "mine");
    assert_eq!(elsewhere.frame_of("response").await["id"], "theirs");
    for person in &mut crowd {
        person.frame_of("response").await;
        person.frame_of("response").await;
    }
}
