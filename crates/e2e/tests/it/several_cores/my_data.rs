//! Requests of a person about their own data, with one device on each of two cores.

use serde_json::{Value, json};
use testkit::llm::Answer;

use super::cluster::{Cluster, ClusterClient, Plan};
use super::devices::{request, two_devices};

/// Sends `hello` with a secret; returns the first frame.
async fn hello(cluster: &Cluster, core: usize, resume: &Value) -> Value {
    let (_, first) = cluster.try_hello(core, json!({"type": "hello", "v": 1, "resume": resume})).await;
    first
}

#[tokio::test]
async fn replaced_token_is_dead_on_every_core() {
    let cluster = Plan::default().start().await;
    let (mut first, mut second, welcome) = two_devices(&cluster).await;
    let rotated = request(&mut first, "rotate_resume", json!({})).await;
    assert_eq!(second.read().await, None, "the other device is closed");
    for core in 0..2 {
        assert_eq!(hello(&cluster, core, &welcome["resume"]).await["code"], "bad_resume");
        let again = hello(&cluster, core, &rotated["resume"]).await;
        assert_eq!((&again["type"], &again["session"]), (&json!("welcome"), &welcome["session"]));
    }
    assert_eq!(first.ask("a", "hola").await.text, "eco: hola");
}

#[tokio::test]
async fn code_of_one_core_opens_the_session_on_another_once() {
    let cluster = Plan::default().start().await;
    let (mut first, welcome) = cluster.arrive(0).await;
    first.ask("a", "hola").await;
    let code = request(&mut first, "link", json!({})).await["code"].take();
    let typed = json!(code.as_str().unwrap().to_lowercase().replace('-', " "));
    let there = hello(&cluster, 1, &typed).await;
    assert_eq!((&there["session"], &there["resume"]), (&welcome["session"], &welcome["resume"]), "{there}");
    for core in 0..2 {
        assert_eq!(hello(&cluster, core, &code).await["code"], "bad_resume");
    }
}

#[tokio::test]
async fn message_forgotten_on_one_core_is_gone_on_all() {
    let cluster = Plan::default().start().await;
    let (mut first, mut second, welcome) = two_devices(&cluster).await;
    first.ask("a", "hola").await;
    second.frame_of("done").await;
    // The answer is given by the first core, and the second forgets its message.
    let _held = cluster.standin.push_held(Answer::pieces(["Te ", "escucho."]), 1);
    first.say("b", "algo privado").await;
    second.frame_of("delta").await;
    let forgotten = request(&mut second, "forget_last", json!({})).await;
    assert_eq!((&forgotten["id"], &forgotten["erased"]), (&json!("b"), &json!(1)), "{forgotten}");
    let seen = first.frame_of("forgotten").await;
    assert_eq!((&seen["id"], &seen["from_seq"], &seen["seq"]), (&json!("b"), &json!(3), &forgotten["seq"]));
    for device in [&mut first, &mut second] {
        let history = request(device, "history", json!({})).await;
        let ids: Vec<&Value> = history["entries"].as_array().unwrap().iter().map(|entry| &entry["id"]).collect();
        assert_eq!(ids, ["a", "a"], "{history}");
    }
    assert_eq!(first.ask("c", "sigo").await.accepted["seq"], 5, "no number is used twice");
    // A third device learns of it too, and the id stays forgotten.
    let (mut third, _) = cluster.resume(1, &welcome, 2).await;
    assert_eq!(third.frame().await, seen);
    third.say("b", "algo privado").await;
    assert_eq!(third.frame_of("forgotten").await, seen);
}

#[tokio::test]
async fn session_that_is_not_kept_is_known_to_one_core_only() {
    let cluster = Plan::default().start().await;
    let (mut person, welcome) = cluster.try_hello(0, json!({"type": "hello", "v": 1, "keep": false})).await;
    assert_eq!((&welcome["type"], &welcome["kept"]), (&json!("welcome"), &json!(false)));
    assert_eq!(person.ask("a", "algo privado").await.text, "eco: algo privado");
    assert_eq!(hello(&cluster, 1, &welcome["resume"]).await["code"], "bad_resume");
    let here = hello(&cluster, 0, &welcome["resume"]).await;
    assert_eq!((&here["session"], &here["seq"], &here["kept"]), (&welcome["session"], &json!(2), &json!(false)));
    let rows =
        cluster.postgres.with(|postgres| postgres.sql("psicoia", "SELECT count(*) FROM sessions").unwrap()).await;
    assert_eq!(rows, "0");
}

/// A device that leaves before its message was forgotten and comes back must not bring it back.
#[tokio::test]
async fn forgotten_message_is_not_answered_after_a_reconnect() {
    let cluster = Plan::default().start().await;
    let (mut first, welcome) = cluster.arrive(0).await;
    let held = cluster.standin.push_held(Answer::pieces(["Te ", "escucho."]), 1);
    first.say("a", "algo privado").await;
    first.frame_of("delta").await;
    drop(first);
    let (mut second, _): (ClusterClient, Value) = cluster.resume(1, &welcome, 0).await;
    assert_eq!(request(&mut second, "forget_last", json!({})).await["id"], "a");
    drop(held);
    let (mut first, _) = cluster.resume(0, &welcome, 0).await;
    first.say("a", "algo privado").await;
    assert_eq!(first.frame_of("forgotten").await["id"], "a");
    assert_eq!(request(&mut first, "history", json!({})).await["entries"], json!([]));
}
