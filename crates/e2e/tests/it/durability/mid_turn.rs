//! What everyone is told whose turn a lost database interrupts, and what comes of it.

use serde_json::{Value, json};
use testkit::line_peer::LinePeer;
use testkit::llm::Answer;
use tokio::net::TcpStream;
use tokio_util::sync::DropGuard;

use super::house::{House, entries, numbered, visit};
use crate::person::Person;
use crate::program::Program;

/// Someone in the middle of an answer to message `a`, which goes on when the guard is dropped.
pub(super) async fn listening(house: &House, core: &Program) -> (Person<LinePeer<TcpStream>>, DropGuard) {
    let held = house.standin.push_held(Answer::pieces(["Te ", "escucho."]), 1);
    let (mut person, _) = visit(core, None).await;
    person.say("a", "hola").await;
    assert_eq!(person.frame_of("delta").await["text"], "Te ");
    (person, held)
}

/// The message was not stored; there is a sentence for the person, and a time to come back.
pub(super) fn is_unavailable(error: &Value, id: &str) {
    assert_eq!((&error["type"], &error["code"], &error["id"]), (&json!("error"), &json!("unavailable"), &json!(id)));
    assert!(error["retry_after_ms"].as_u64().is_some_and(|after| 0 < after), "{error}");
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
}

/// The answer to `a` is whole and stored, though the database was away when it ended.
pub(super) async fn is_answered(listener: &mut Person<LinePeer<TcpStream>>) {
    let done = listener.frame_of("done").await;
    assert_eq!((&done["id"], &done["seq"], &done["finish"]), (&json!("a"), &json!(2), &json!("stop")), "{done}");
    assert_eq!(entries(listener).await, numbered(&["hola", "Te escucho."]));
}

/// Message `b`, which was refused, is sent again and taken as if nothing had happened.
pub(super) async fn all_is_well_again(speaker: &mut Person<LinePeer<TcpStream>>, text: &str) {
    let (reply, answer) = (speaker.ask("b", text).await, format!("eco: {text}"));
    assert_eq!((&reply.accepted["seq"], &reply.text), (&json!(1), &answer));
    assert_eq!(entries(speaker).await, numbered(&[text, &answer]));
}
