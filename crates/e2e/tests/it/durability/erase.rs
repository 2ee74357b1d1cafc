//! Erasing a session while its database is slow, and by another process.

use serde_json::{Value, json};
use testkit::line_peer::LinePeer;
use testkit::llm::Answer;
use tokio::net::TcpStream;

use super::sqlite_node::{SqliteNode, connect_client};
use crate::metrics::Metrics;
use crate::program::Program;
use crate::test_client::TestClient;

type Device = TestClient<LinePeer<TcpStream>>;

/// Connects two devices to one session, the first mid-answer.
async fn two_devices(core: &Program) -> (Device, Device, Value) {
    let (mut first, welcome) = connect_client(core, None).await;
    first.say("a", "hola").await;
    assert_eq!(first.frame_of("delta").await["text"], "Te ");
    let (mut second, _) = connect_client(core, welcome["resume"].as_str()).await;
    assert_eq!(second.frame().await["text"], "Te ");
    (first, second, welcome)
}

async fn erase(device: &mut Device, welcome: &Value, timeout_ms: u64) {
    let params = json!({"confirm": welcome["session"]});
    device
        .send(json!({"type": "request", "id": "e", "method": "erase", "params": params, "timeout_ms": timeout_ms}))
        .await;
}

async fn is_timeout(device: &mut Device) {
    let error = device.frame_of("error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("timeout"), &json!("e")), "{error}");
}

/// Asserts that the connection ends without further frames.
async fn is_closed(device: &mut Device) {
    assert_eq!(device.read().await, None);
}

async fn is_gone(core: &Program, welcome: &Value) {
    let (_, reply) = connect_client(core, welcome["resume"].as_str()).await;
    assert_eq!(reply["code"], "bad_resume", "{reply}");
    let errors: Vec<_> = core.logs().into_iter().filter(|line| line.contains("\"ERROR\"")).collect();
    assert!(errors.is_empty(), "{errors:?}");
    Metrics::of(core).await.assert(&[("psicoia_core_commit_failures_total", 0.0)]);
}

#[tokio::test]
async fn erase_completes_after_its_deadline() {
    let node = SqliteNode::new().await;
    let core = node.core(&[]).await;
    let held = node.standin.push_held(Answer::pieces(["Te ", "escucho."]), 1);
    let (mut first, mut second, welcome) = two_devices(&core).await;
    let mut plain = TestClient::new(LinePeer::connect(core.address()).await.unwrap());
    plain.lines(3).await;
    plain.write(&format!("/reanudar {}", welcome["resume"].as_str().unwrap())).await;
    plain.line().await;

    let other = node.open_database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    erase(&mut first, &welcome, 100).await;
    is_timeout(&mut first).await;
    second.say("b", "¿estás?").await;
    plain.write("¿y acá?").await;
    other.execute_batch("ROLLBACK").unwrap();

    is_closed(&mut first).await;
    is_closed(&mut second).await;
    let line = plain.line().await;
    assert!(line.contains("se borró"), "{line}");
    is_closed(&mut plain).await;
    drop(held);
    is_gone(&core, &welcome).await;
}

#[tokio::test]
async fn repeated_erase_returns_the_first_result() {
    let node = SqliteNode::new().await;
    let core = node.core(&[]).await;
    let _held = node.standin.push_held(Answer::pieces(["Te ", "escucho."]), 1);
    let (mut first, mut second, welcome) = two_devices(&core).await;
    let other = node.open_database();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    erase(&mut first, &welcome, 100).await;
    is_timeout(&mut first).await;
    erase(&mut first, &welcome, 30_000).await;
    other.execute_batch("ROLLBACK").unwrap();

    let response = first.frame_of("response").await;
    assert_eq!(response["result"], json!({"erased": 1}));
    is_closed(&mut second).await;
    // As after any erase: the connection is open, without a session.
    first.say("b", "¿estás?").await;
    let error = first.frame_of("error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("hello_required"), &json!("b")), "{error}");
    is_gone(&core, &welcome).await;
}

/// A session erased by another process ends at its next access.
#[tokio::test]
async fn session_erased_by_another_process_ends() {
    let request =
        |method: &str, params: Value| json!({"type": "request", "id": "r", "method": method, "params": params});
    for look in [
        json!({"type": "message", "id": "b", "text": "¿estás?"}),
        request("history", json!({})),
        request("export", json!({})),
        request("set_locale", json!({"locale": "en"})),
    ] {
        let node = SqliteNode::new().await;
        let core = node.core(&[]).await;
        let held = node.standin.push_held(Answer::pieces(["Te ", "escucho."]), 1);
        let (mut first, mut second, welcome) = two_devices(&core).await;
        node.open_database().execute_batch("DELETE FROM entries; DELETE FROM sessions").unwrap();
        first.send(look.clone()).await;
        for device in [&mut first, &mut second] {
            assert_eq!(device.read().await, None, "{look}");
        }
        drop(held);
        is_gone(&core, &welcome).await;
    }
}

/// The answer cannot be stored, which is no failure.
#[tokio::test]
async fn answer_of_an_erased_session_is_no_failure() {
    let node = SqliteNode::new().await;
    let core = node.core(&[]).await;
    let held = node.standin.push_held(Answer::pieces(["Te ", "escucho."]), 1);
    let (mut first, _second, welcome) = two_devices(&core).await;
    node.open_database().execute_batch("DELETE FROM entries; DELETE FROM sessions").unwrap();
    drop(held);
    assert_eq!(first.frame().await["text"], "escucho.");
    is_closed(&mut first).await;
    is_gone(&core, &welcome).await;
}
