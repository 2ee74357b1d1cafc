//! Help with the store or Redis away, after a restart, and at other cores.

use serde_json::{Value, json};
use testkit::line_peer::LinePeer;

use super::{WISH, is_helped, is_helped_plainly};
use crate::durability::sqlite_node::{SqliteNode, connect_client};
use crate::postgres::Server;
use crate::several_cores::cluster::{Plan as ClusterPlan, REDIS_LOST};
use crate::test_client::TestClient;

/// Says it again until it is accepted, as a client does. Returns the frames since.
async fn insist(person: &mut TestClient<LinePeer<tokio::net::TcpStream>>, id: &str) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        let frame = person.frame().await;
        match frame["type"].as_str() {
            Some("error") => person.say(id, WISH).await,
            Some("done") => return frames,
            _ => frames.push(frame),
        }
    }
}

/// The stored help comes once, and every device gets it.
fn is_stored_once(frames: &[Value]) {
    let stored = frames.iter().filter(|frame| frame["type"] == "turn" && frame["role"] == "support").count();
    assert_eq!(stored, 1, "{frames:?}");
    assert!(frames.iter().all(|frame| frame["type"] != "support"), "shown a second time: {frames:?}");
}

#[tokio::test]
async fn locked_database_delays_no_help() {
    let node = SqliteNode::new().await;
    let core = node.core(&[]).await;
    let (mut person, welcome) = connect_client(&core, None).await;
    let mut plain = TestClient::new(LinePeer::connect(core.address()).await.unwrap());
    plain.lines(3).await;
    let other = node.open_database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    person.say("a", WISH).await;
    is_helped(&mut person, "a").await;
    plain.write(WISH).await;
    is_helped_plainly(&mut plain).await;
    // Somebody who only comes now cannot even be greeted.
    let mut late = TestClient::new(LinePeer::connect(core.address()).await.unwrap());
    late.write(WISH).await;
    is_helped_plainly(&mut late).await;
    let mut program = TestClient::new(LinePeer::connect(core.address()).await.unwrap());
    program.send(json!({"type": "hello", "v": 1})).await;
    program.say("p", WISH).await;
    is_helped(&mut program, "p").await;
    let error = person.frame().await;
    assert_eq!(error["code"], "unavailable", "{error}");
    other.execute_batch("ROLLBACK").unwrap();
    person.say("a", WISH).await;
    is_stored_once(&insist(&mut person, "a").await);
    let (mut again, _) = connect_client(&core, welcome["resume"].as_str()).await;
    again.send(json!({"type": "request", "id": "r", "method": "history"})).await;
    let entries = again.frame_of("response").await["result"]["entries"].take();
    let roles: Vec<_> = entries.as_array().unwrap().iter().map(|entry| entry["role"].as_str().unwrap()).collect();
    assert_eq!(roles.iter().filter(|role| **role == "support").count(), 1, "{roles:?}");
}

#[tokio::test]
async fn unavailable_database_delays_no_help() {
    let (server, url) = Server::start().await;
    let node = SqliteNode::new().await;
    let core = node.core(&[("DATABASE_URL", url)]).await;
    let (mut person, _) = connect_client(&core, None).await;
    server.stop().await;
    person.say("a", WISH).await;
    is_helped(&mut person, "a").await;
    assert_eq!(person.frame().await["code"], "unavailable");
    let mut late = TestClient::new(LinePeer::connect(core.address()).await.unwrap());
    late.write(WISH).await;
    is_helped_plainly(&mut late).await;
    server.start_again().await;
    person.say("a", WISH).await;
    is_stored_once(&insist(&mut person, "a").await);
}

/// A limit that is used up shows whether the level is remembered: in risk nothing is refused.
#[tokio::test]
async fn level_survives_restart() {
    let node = SqliteNode::new().await;
    let one_an_hour = [("RATE_MAX_MESSAGES", "1".to_owned()), ("RATE_WINDOW_SECONDS", "3600".to_owned())];
    let mut core = node.core(&one_an_hour).await;
    let (mut person, in_risk) = connect_client(&core, None).await;
    person.say("a", WISH).await;
    is_helped(&mut person, "a").await;
    person.frame_of("done").await;
    let (mut other, calm) = connect_client(&core, None).await;
    other.ask("a", "hola").await;
    core.kill().await;
    core.restart().await;
    for (welcome, wants) in [(&in_risk, "done"), (&calm, "error")] {
        let (mut person, _) = connect_client(&core, welcome["resume"].as_str()).await;
        person.say("b", "bueno").await;
        person.frame_of("done").await;
        person.say("c", "sigo acá").await;
        let end = loop {
            let frame = person.frame().await;
            assert_ne!(frame["type"], "support", "help is not repeated so soon: {frame}");
            if frame["type"] == "done" || frame["type"] == "error" {
                break frame;
            }
        };
        assert_eq!(end["type"], wants, "{end}");
    }
}

#[tokio::test]
async fn devices_on_several_cores_get_help_across_a_redis_outage() {
    let mut cluster = ClusterPlan::default().start().await;
    let (mut first, welcome) = cluster.arrive(0).await;
    let (mut second, _) = cluster.resume(1, &welcome, 0).await;
    first.say("x", "hola").await;
    first.frame_of("done").await;
    second.frame_of("done").await;
    first.say("a", WISH).await;
    is_helped(&mut first, "a").await;
    is_helped(&mut second, "a").await;
    for device in [&mut first, &mut second] {
        let turn = loop {
            let turn = device.frame_of("turn").await;
            if turn["role"] == "support" {
                break turn;
            }
        };
        assert!(!turn["resources"].as_array().unwrap().is_empty(), "{turn}");
        // A core that catches up from the store may find the answer there, and sends it as an entry.
        loop {
            let frame = device.frame().await;
            if frame["type"] == "done" || frame["role"] == "assistant" {
                break;
            }
        }
    }
    // The other core has assessed it too: its device is not helped again for the same.
    second.say("b", WISH).await;
    assert_eq!(second.frame().await["type"], "accepted");
    second.frame_of("done").await;

    // Another person, on both cores too.
    let (mut first, welcome) = cluster.arrive(0).await;
    let (mut second, _) = cluster.resume(1, &welcome, 0).await;
    cluster.redis.kill().await.unwrap();
    for core in &cluster.cores {
        core.wait_for(REDIS_LOST).await;
    }
    first.say("c", WISH).await;
    is_helped(&mut first, "c").await;
    first.frame_of("done").await;
    cluster.redis.start().await.unwrap();
    let turn = loop {
        let turn = second.frame_of("turn").await;
        if turn["role"] == "support" {
            break turn;
        }
    };
    assert_eq!(turn["id"], "c", "{turn}");
}
