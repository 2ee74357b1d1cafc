//! No text of a person, answer, key or token is logged.

use protocol::Face;
use protocol::limits::MAX_LINE_BYTES;
use serde_json::{Value, json};
use testkit::llm::{Answer, Hang};
use testkit::peer::Peer as _;
use testkit::ws_peer::WsPeer;

use crate::single_node::{Plan, SingleNode};
use crate::test_client::TestClient;

/// Marker in all texts of these tests.
const SECRET: &str = "xilofonos-violetas";
const KEY: &str = "gsk_llave-de-marmol";

/// Personal data that a log line might contain, each with the marker.
fn written(text: &str) -> String {
    format!("{text} {SECRET}")
}

/// Chats in the plain face, including commands and errors; returns the resume token.
async fn at_a_terminal(node: &SingleNode) -> String {
    let mut person = node.at_core().await;
    person.lines(3).await;
    person.write(&written("hola")).await;
    assert!(person.line().await.contains(SECRET));
    person.write("/sesion").await;
    let token = person.line().await.rsplit(' ').next().unwrap().to_owned();
    for command in ["/reanudar rt_", "/idioma ", "/", "/historial ", "/borrar ", "{\"type\":\"hello\",\"v\":\""] {
        person.write(&format!("{command}{SECRET}")).await;
        person.line().await;
    }
    person.write(&format!("/reanudar {token}")).await;
    person.peer.send_bytes(&[SECRET.as_bytes(), b"\xff\n"].concat()).await.unwrap();
    person.write(&SECRET.repeat(MAX_LINE_BYTES / SECRET.len() + 1)).await;
    person.write(&SECRET.repeat(500)).await;
    person.write("salir").await;
    person.ending().await;
    // Disconnects mid-line.
    let mut person = node.at_core().await;
    person.peer.send_bytes(SECRET.as_bytes()).await.unwrap();
    person.peer.cut();
    token
}

/// Sends every kind of invalid frame; returns the resume token and the trace id of the connection.
async fn as_a_program(node: &SingleNode) -> (String, String) {
    let mut person = node.at_gateway(Face::Frames).await;
    let trace = person.peer.trace_id().unwrap().to_owned();
    person.send(json!({"type": "hello", "v": 1, "resume": written("rt_"), "client": SECRET, "auth": SECRET})).await;
    assert_eq!(person.frame().await["code"], "bad_resume");
    let token = person.hello().await["resume"].as_str().unwrap().to_owned();
    let broken = [
        json!({"type": SECRET}),
        json!({"type": "message", "id": SECRET, "text": ""}),
        json!({"type": "message", "id": "x", "text": SECRET.repeat(500)}),
        json!({"type": "stop", "id": SECRET}),
        json!({"type": "request", "id": "r1", "method": SECRET}),
        json!({"type": "request", "id": "r2", "method": "erase", "params": {"confirm": SECRET}}),
        json!({"type": "request", "id": "r3", "method": "set_locale", "params": {"locale": SECRET}}),
        json!(SECRET),
    ];
    for frame in broken {
        person.send(frame.clone()).await;
        assert_eq!(person.frame().await["type"], "error", "{frame}");
    }
    person.write(&format!("{{\"type\":\"message\",\n\"text\":\"{SECRET}\"}}")).await;
    assert_eq!(person.frame().await["code"], "bad_frame");
    for (id, answer) in [("a", Answer::text(written("eco"))), ("b", Answer { cut: true, ..Answer::text(SECRET) })] {
        node.standin.push(answer);
        assert!(person.ask(id, &written("mensaje")).await.text.contains(SECRET));
    }
    person.send(json!({"type": "request", "id": "r4", "method": "export"})).await;
    assert!(person.frame_of("response").await.to_string().contains(SECRET));
    (token, trace)
}

/// Provokes model failures and exceeds the limits.
async fn with_a_broken_model(person: &mut TestClient<WsPeer>, node: &SingleNode) {
    let garbage = Answer { garbage: true, ..Answer::text(SECRET) };
    let faults = [Answer::status(500), Answer::status(401), Answer::default().hanging(Hang::Headers), garbage];
    for (id, fault) in ["c", "d", "e", "f"].into_iter().zip(faults) {
        node.standin.push(fault);
        person.ask(id, &written("otra cosa")).await;
    }
    person.say("g", &written("una de más")).await;
    assert_eq!(person.frame().await["code"], "rate_limited");
    person.peer.send(vec![0xff; 4].into()).await.unwrap();
    person.ending().await;
}

/// Asserts the common prefix of log lines and returns `line`.
fn well_formed(line: &str) -> Value {
    let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let mut rest = line.strip_prefix('{').unwrap();
    for (name, next) in
        ["timestamp", "service", "level", "trace_id", "message"].into_iter().zip([",", ",", ",", ",", ""])
    {
        let value = object[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}"));
        let field = format!("\"{name}\":{}{next}", Value::from(value));
        rest = rest.strip_prefix(field.as_str()).unwrap_or_else(|| panic!("{name} is out of place: {line}"));
    }
    assert_eq!(object["trace_id"].as_str().unwrap().len(), 32, "{line}");
    object
}

async fn nothing_private_is_logged(level: &str) {
    let plan = Plan::with_gateway().core("GROQ_API_KEY", KEY).both("LOG_LEVEL", level);
    let plan =
        plan.core("RATE_MAX_MESSAGES", 4).core("LLM_MAX_RETRIES", 1).core("LLM_FIRST_TOKEN_TIMEOUT_SECONDS", "0.2");
    let mut node = plan.start().await;
    let mut tokens = vec![at_a_terminal(&node).await];
    let (token, trace) = as_a_program(&node).await;
    let mut person = node.at_gateway(Face::Frames).await;
    tokens.push(person.hello().await["resume"].as_str().unwrap().to_owned());
    with_a_broken_model(&mut person, &node).await;
    let mut person = node.at_gateway(Face::Plain).await;
    person.lines(3).await;
    person.write(&format!("/reanudar {token}")).await;
    person.write("salir").await;
    person.ending().await;
    tokens.push(token);

    assert!(node.standin.requests().iter().all(|request| request.authorization() == Some(&format!("Bearer {KEY}"))));
    node.gateway().terminate().await;
    node.core.terminate().await;
    let logs = node.logs();
    let tokens = tokens.iter().map(|token| token.as_str());
    for secret in [SECRET, KEY, "xilofonos", "violetas", "marmol"].into_iter().chain(tokens) {
        assert!(5 <= secret.len());
        let leaks: Vec<&String> = logs.iter().filter(|line| line.contains(secret)).collect();
        assert!(leaks.is_empty(), "{secret} at {level}: {leaks:#?}");
    }
    let lines: Vec<Value> = logs.iter().map(|line| well_formed(line)).collect();
    assert!(lines.iter().any(|line| line["level"] == level), "nothing at {level}");
    for service in ["core-server", "ws-gateway"] {
        let of_trace = lines.iter().filter(|line| line["service"] == service && line["trace_id"] == trace.as_str());
        assert!(2 <= of_trace.count(), "{service} says too little of {trace}:\n{}", logs.join("\n"));
    }
}

#[tokio::test]
async fn logs_no_texts_at_info() {
    nothing_private_is_logged("info").await;
}

#[tokio::test]
async fn logs_no_texts_at_debug() {
    nothing_private_is_logged("debug").await;
}

#[tokio::test]
async fn logs_no_texts_at_trace() {
    nothing_private_is_logged("trace").await;
}

#[tokio::test]
async fn risk_is_not_logged() {
    let mut node = Plan::default().core("LOG_LEVEL", "trace").start().await;
    let before = node.logs().len();
    let mut person = node.at_core().await;
    person.hello().await;
    for (id, text, answer, source) in [
        ("a", "hola", Answer::text("Te leo."), "llm"),
        ("b", "estoy cansado", Answer::text("Llamá al 0800 555 7788 ahora."), "screened"),
        ("c", "ya me tomé todas las pastillas para morirme", Answer::text("Te leo."), "companion"),
    ] {
        if source != "companion" {
            node.standin.push(answer);
        }
        person.say(id, text).await;
        assert_eq!(person.frame_of("done").await["source"], source, "{text}");
    }
    node.core.terminate().await;
    let logs = node.logs();
    let lines = logs.get(before..).unwrap_or_default();
    assert_eq!(lines.iter().filter(|line| line.contains("turn ended")).count(), 3);
    for word in ["companion", "screened", "imminent", "suicide", "risk", "turn.source"] {
        let leaks: Vec<&String> = lines.iter().filter(|line| line.contains(word)).collect();
        assert!(leaks.is_empty(), "{word}: {leaks:#?}");
    }
}

#[tokio::test]
async fn summaries_are_not_logged() {
    let plan = Plan::default().core("LOG_LEVEL", "trace").core("RATE_MAX_MESSAGES", 99);
    let mut node = plan.core("LLM_HISTORY_MAX_MESSAGES", 2).core("LLM_SUMMARY_EVERY_MESSAGES", 2).start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    for number in 1..=4 {
        person.ask(&format!("m{number}"), &written("mensaje")).await;
    }
    node.core.wait_for("older messages summed up").await;
    // The stand-in echoes, so the summary contains the texts.
    person.ask("m5", "¿te acordás?").await;
    let read = node.standin.requests().pop().unwrap().body();
    assert!(read["messages"][0]["content"].as_str().unwrap().contains(SECRET), "{read}");
    // A second summary fails.
    node.standin.push(Answer::text("sí"));
    node.standin.push(Answer { garbage: true, ..Answer::text(SECRET) });
    person.ask("m6", &written("mensaje")).await;
    node.core.wait_for("summarization skipped").await;
    node.core.terminate().await;
    let leaks: Vec<String> = node.logs().into_iter().filter(|line| line.contains(SECRET)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}
