//! Help for refused input: lines that cannot be used, unknown commands, messages to a draining core.

use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::{WISH, is_helped, is_helped_plainly};
use crate::single_node::Plan;

/// In one line, as `nc` sends it.
fn in_latin_1(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(letter).unwrap()).chain(*b"\n").collect()
}

fn long(times: usize) -> String {
    format!("{WISH}. {}", "ay ".repeat(times))
}

#[tokio::test]
async fn in_the_plain_face() {
    let node = Plan::default().start().await;
    let lines = [
        in_latin_1("no quiero vivir más"),
        in_latin_1("/me quiero matar"),
        in_latin_1("/ayuda me quiero matar"),
        // More characters than a message may have, with the wish at either end, and more bytes than a line may have.
        in_latin_1(&long(3_000)),
        in_latin_1(&format!("{} {WISH}", "ay ".repeat(3_000))),
        in_latin_1(&long(30_000)),
    ];
    for line in lines {
        let mut person = node.at_core().await;
        person.lines(3).await;
        person.peer.send_bytes(&line).await.unwrap();
        is_helped_plainly(&mut person).await;
        // Its own line comes behind it.
        assert!(!person.line().await.starts_with("Ayuda: "), "{line:?}");
        person.write("/historial").await;
        loop {
            let line = person.line().await;
            if line.starts_with("Ayuda: ") {
                break;
            }
            // Other lines of /ayuda, or the help is not stored yet.
            assert!(!line.starts_with("Vos: "), "{line}");
            if line.starts_with("Todavía") {
                person.write("/historial").await;
            }
        }
    }
    let mut person = node.at_core().await;
    person.lines(3).await;
    for command in ["/Crísis", "/crisis.", "/CRISIS!!"] {
        for bytes in [[command.as_bytes(), b"\n"].concat(), in_latin_1(command)] {
            person.peer.send_bytes(&bytes).await.unwrap();
            let lines = person.lines(3).await;
            assert!(lines[2].contains("/pais"), "{lines:?}");
        }
    }
}

#[tokio::test]
async fn in_frames() {
    let node = Plan::default().start().await;
    let frames = [
        json!({"type": "message", "id": "a", "text": format!("{WISH}\0")}).to_string(),
        json!({"type": "message", "id": "a b", "text": WISH}).to_string(),
        json!({"type": "message", "text": WISH}).to_string(),
        json!({"type": "say", "id": "a", "text": WISH}).to_string(),
        json!({"type": "message", "id": "a", "text": long(3_000)}).to_string(),
        json!({"type": "message", "id": "a", "text": long(30_000)}).to_string(),
        r#"{"type":"message","id":"a","text":"no quiero vivir más"}"#.to_owned(),
        r#"{"type":"message","id":"a","text":"me quiero matar"#.to_owned(),
        WISH.to_owned(),
    ];
    for frame in frames {
        let mut person = node.at_core().await;
        person.hello().await;
        person.peer.send_bytes(&in_latin_1(&frame)).await.unwrap();
        let first = person.frame().await;
        assert_eq!((&first["type"], &first["seq"]), (&json!("support"), &Value::Null), "{first}");
        assert_eq!(person.frame().await["type"], "error");
        let turn = person.frame().await;
        assert_eq!(
            (&turn["type"], &turn["role"], &turn["seq"]),
            (&json!("turn"), &json!("support"), &json!(1)),
            "{turn}"
        );
        // It is in step.
        person.send(json!({"type": "ping", "id": "on"})).await;
        assert_eq!(person.frame().await, json!({"type": "pong", "id": "on"}));
    }
}

#[tokio::test]
async fn by_a_core_that_goes_away() {
    let mut node = Plan::default().core("DRAIN_SECONDS", 20).start().await;
    let mut framed = node.at_core().await;
    framed.hello().await;
    let mut plain = node.at_core().await;
    plain.lines(3).await;
    let mut silent = node.at_core().await;
    silent.lines(3).await;
    node.core.ask_to_stop();
    framed.frame_of("notice").await;
    let begin = Instant::now();
    framed.say("b", WISH).await;
    plain.write(WISH).await;
    is_helped(&mut framed, "b").await;
    is_helped_plainly(&mut plain).await;
    assert_eq!(framed.frame_of("error").await["code"], "shutting_down");
    plain.line().await;
    assert_eq!(plain.read().await, None);
    // The others do not hold it up for long.
    assert_eq!(silent.read().await, None);
    node.core.terminate().await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}
