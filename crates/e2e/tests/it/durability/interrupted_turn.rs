//! Assertions about a turn interrupted by a lost database.

use serde_json::{Value, json};
use testkit::line_peer::LinePeer;
use testkit::llm::Answer;
use tokio::net::TcpStream;
use tokio_util::sync::DropGuard;

use super::sqlite_node::{SqliteNode, connect_client, entries, numbered};
use crate::program::Program;
use crate::test_client::TestClient;

/// Client mid-answer to message `a`, which continues when the guard is dropped.
pub(super) async fn listening(node: &SqliteNode, core: &Program) -> (TestClient<LinePeer<TcpStream>>, DropGuard) {
    let held = node.standin.push_held(Answer::pieces(["Te ", "escucho."]), 1);
    let (mut person, _) = connect_client(core, None).await;
    person.say("a", "hola").await;
    assert_eq!(person.frame_of("delta").await["text"], "Te ");
    (person, held)
}

/// Asserts that the message was refused with a text for the person and a retry delay.
pub(super) fn is_unavailable(error: &Value, id: &str) {
    assert_eq!((&error["type"], &error["code"], &error["id"]), (&json!("error"), &json!("unavailable"), &json!(id)));
    assert!(error["retry_after_ms"].as_u64().is_some_and(|after| 0 < after), "{error}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
}

/// Asserts that the answer to `a` is complete and stored, although the database was down at its end.
pub(super) async fn is_answered(listener: &mut TestClient<LinePeer<TcpStream>>) {
    let done = listener.frame_of("done").await;
    assert_eq!((&done["id"], &done["seq"], &done["finish"]), (&json!("a"), &json!(2), &json!("stop")), "{done}");
    assert_eq!(entries(listener).await, numbered(&["hola", "Te escucho."]));
}

/// Resends the refused message `b` and asserts that it is accepted.
pub(super) async fn all_is_well_again(speaker: &mut TestClient<LinePeer<TcpStream>>, text: &str) {
    let (reply, answer) = (speaker.ask("b", text).await, format!("eco: {text}"));
    assert_eq!((&reply.accepted["seq"], &reply.text), (&json!(1), &answer));
    assert_eq!(entries(speaker).await, numbered(&[text, &answer]));
}
