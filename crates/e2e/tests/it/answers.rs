//! Source and screening of answers: on the wire, in the store, and on other cores.

use serde_json::{Value, json};
use testkit::llm::{Answer, Hang, LlmStandin, Outcome};
use testkit::peer::Peer;

use crate::single_node::Plan;
use crate::test_client::TestClient;

/// Harmless up to the number, which is not a known help line.
const BAD: &str =
    "Te leo y lamento mucho lo que te pasa. Podés llamar ahora al 0800-555-7788 y pedir ayuda, te van a atender.";
/// Part that may be shown.
const GOOD_PART: &str = "Te leo y lamento mucho lo que te pasa. Podés llamar ahora al ";
const GOOD: &str = "Te leo, y tiene sentido que estés así. ¿Qué es lo que más te pesa hoy?";

/// Final text of the answer to message `id` as a client holds it, and `done`.
async fn final_answer<P: Peer>(person: &mut TestClient<P>, id: &str) -> (String, Value) {
    let mut text = String::new();
    loop {
        let frame = person.frame().await;
        match frame["type"].as_str() {
            Some("delta") if frame["id"] == id => {
                let offset = usize::try_from(frame["offset"].as_u64().unwrap()).unwrap();
                text = text.chars().take(offset).collect();
                text.push_str(frame["text"].as_str().unwrap());
            }
            Some("done") if frame["id"] == id => return (text, frame),
            Some("error") => panic!("{frame}"),
            _ => {}
        }
    }
}

async fn ask<P: Peer>(person: &mut TestClient<P>, id: &str, text: &str) -> (String, Value) {
    person.say(id, text).await;
    final_answer(person, id).await
}

/// Stored answer to message `id`.
async fn stored<P: Peer>(person: &mut TestClient<P>, id: &str) -> Value {
    person.send(json!({"type": "request", "id": "history", "method": "history", "params": {"limit": 200}})).await;
    let response = person.frame_of("response").await;
    let entries = response["result"]["entries"].as_array().unwrap();
    entries.iter().find(|entry| entry["id"] == id && entry["role"] == "assistant").unwrap().clone()
}

/// Splits `text` into two deltas at character `at`.
fn in_two(text: &str, at: usize) -> [String; 2] {
    [text.chars().take(at).collect(), text.chars().skip(at).collect()]
}

fn system_prompt(standin: &LlmStandin) -> String {
    let requests = standin.requests();
    requests.last().unwrap().body()["messages"][0]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn replaces_screened_answer_at_any_delta_boundary() {
    // Without summaries, every model call is a scripted answer.
    let node = Plan::default().core("RATE_MAX_MESSAGES", 10_000).core("LLM_SUMMARY", "off").start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    let mut results = Vec::new();
    for at in (1..BAD.chars().count()).step_by(3) {
        // The model would continue: the call must be cancelled.
        node.standin.push(Answer::pieces(in_two(BAD, at)).hanging(Hang::Stream));
        let id = format!("m{at}");
        let (text, done) = ask(&mut person, &id, "hola, ¿cómo va?").await;
        assert_eq!((&done["source"], &done["finish"]), (&json!("screened"), &json!("stop")), "{at}: {text}");
        assert!(!text.contains("555") && !text.contains("7788"), "{at}: {text}");
        assert!(
            text.starts_with("Te leo y lamento mucho lo que te pasa.") && text.len() > GOOD_PART.len(),
            "{at}: {text}"
        );
        assert_eq!(done["chars"], text.chars().count());
        let entry = stored(&mut person, &id).await;
        assert_eq!((&entry["text"], &entry["source"]), (&json!(text), &json!("screened")));
        results.push(text);
    }
    results.dedup();
    assert_eq!(results.len(), 1, "it does not matter where: {results:?}");
    node.standin.wait_for(|calls| calls.iter().all(|call| call.outcome == Outcome::Cancelled)).await.unwrap();
    // The screen does not count against the provider: the breaker is closed and the slot free.
    node.standin.push(Answer::text(GOOD));
    let (text, done) = ask(&mut person, "after", "gracias").await;
    assert_eq!((text.as_str(), &done["source"]), (GOOD, &json!("llm")));
    assert!(node.logs().iter().all(|line| !line.contains("7788")));
}

#[tokio::test]
async fn reload_and_resend_show_the_stored_answer() {
    let node = Plan::default().start().await;
    let mut person = node.at_core().await;
    let welcome = person.hello().await;
    node.standin.push(Answer::text(BAD));
    let (text, done) = ask(&mut person, "a", "hola, ¿cómo va?").await;
    drop(person);
    let mut person = node.at_core().await;
    person.send(json!({"type": "hello", "v": 1, "resume": welcome["resume"], "since": 0})).await;
    let entry = loop {
        let frame = person.frame_of("turn").await;
        if frame["role"] == "assistant" {
            break frame;
        }
    };
    assert_eq!((&entry["text"], &entry["source"]), (&json!(text), &json!("screened")));
    let (again, repeated) = ask(&mut person, "a", "hola, ¿cómo va?").await;
    assert_eq!((again, &repeated["source"], &repeated["seq"]), (text, &done["source"], &done["seq"]));
    assert_eq!(node.standin.total(), 1);
    // The model's history holds the text that was shown.
    node.standin.push(Answer::text(GOOD));
    ask(&mut person, "b", "contame").await;
    let sent = node.standin.requests().last().unwrap().body().to_string();
    assert!(!sent.contains("7788"), "{sent}");
}

#[tokio::test]
async fn streams_clean_answer_unchanged() {
    let node = Plan::default().start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    let at = 39;
    let held = node.standin.push_held(Answer::pieces(in_two(GOOD, at)), 1);
    person.say("a", "estoy cansado").await;
    let mut text = String::new();
    while text.chars().count() < at - 12 {
        text.push_str(person.frame_of("delta").await["text"].as_str().unwrap());
    }
    drop(held);
    let mut done = person.frame().await;
    while done["type"] == "delta" {
        text.push_str(done["text"].as_str().unwrap());
        done = person.frame().await;
    }
    assert_eq!((text.as_str(), &done["source"]), (GOOD, &json!("llm")));
}

#[tokio::test]
async fn stop_discards_text_held_by_the_screen() {
    let node = Plan::default().start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    // It ends mid-number, which the screen holds back.
    let _held = node.standin.push_held(Answer::pieces(in_two(BAD, 69)), 1);
    person.say("a", "hola, ¿cómo va?").await;
    let mut text = String::new();
    while text.chars().count() < "Te leo y lamento mucho".len() {
        text.push_str(person.frame_of("delta").await["text"].as_str().unwrap());
    }
    person.send(json!({"type": "stop", "id": "a"})).await;
    let done = loop {
        let frame = person.frame().await;
        match frame["type"].as_str() {
            Some("delta") => text.push_str(frame["text"].as_str().unwrap()),
            _ => break frame,
        }
    };
    assert_eq!((&done["type"], &done["finish"]), (&json!("done"), &json!("stopped")));
    assert!(!text.contains("0800") && GOOD_PART.starts_with(text.trim_end()), "{text}");
    assert_eq!(stored(&mut person, "a").await["text"], json!(text));
}

#[tokio::test]
async fn truncated_screened_answer_shows_none_of_it() {
    let node = Plan::default().start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    node.standin.push(Answer { cut: true, ..Answer::text(BAD) });
    let (text, done) = ask(&mut person, "a", "hola, ¿cómo va?").await;
    assert!(!text.contains("555") && done["source"] == "screened", "{text} {done}");
}

#[tokio::test]
async fn imminent_risk_is_answered_without_a_model_call() {
    let node = Plan::default().start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    let (text, done) = ask(&mut person, "a", "ya me tomé todas las pastillas, chau a todos").await;
    assert_eq!((&done["source"], &done["finish"]), (&json!("companion"), &json!("stop")), "{text}");
    assert!(!text.is_empty() && done["model"].is_null());
    assert_eq!(node.standin.total(), 0);
}

#[tokio::test]
async fn identity_question_overrides_the_model() {
    let node = Plan::default().start().await;
    node.standin.push(Answer::text("Sí, soy una persona de carne y hueso."));
    for (number, (locale, question)) in [
        ("es-AR", "¿sos una persona?"),
        ("es-AR", "sos un robot o hay alguien del otro lado?"),
        ("en", "are you human?"),
        ("en", "am i talking to a real person or an ai"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut person = node.at_core().await;
        person.send(json!({"type": "hello", "v": 1, "locale": locale})).await;
        person.frame_of("welcome").await;
        let (text, done) = ask(&mut person, &format!("q{number}"), question).await;
        assert_eq!(done["source"], "companion", "{question}: {text}");
        let lower = text.to_lowercase();
        let words = ["inteligencia artificial", "artificial intelligence", " ia", " ai", "bot", "programa", "program"];
        assert!(words.iter().any(|words| lower.contains(words)), "{question}: {text}");
    }
    assert_eq!((node.standin.total(), node.standin.queued()), (0, 1));
}

#[tokio::test]
async fn prompt_and_temperature_follow_the_risk_level() {
    let node = Plan::default().core("LLM_TEMPERATURE", "0.9").start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    ask(&mut person, "a", "hoy fui a la plaza con mi perro").await;
    let calm = system_prompt(&node.standin);
    let temperature = |standin: &LlmStandin| standin.requests().last().unwrap().body()["temperature"].as_f64().unwrap();
    assert!((temperature(&node.standin) - 0.9).abs() < 1e-6);
    ask(&mut person, "b", "me quiero matar").await;
    let strict = system_prompt(&node.standin);
    assert!(strict.starts_with(&calm) && strict.len() > calm.len() + 500, "{strict}");
    assert!(strict.contains("Que esté a salvo importa más"), "{strict}");
    assert!(temperature(&node.standin) <= 0.2 + 1e-6);
}

#[tokio::test]
async fn companion_answers_when_the_model_is_down() {
    let node = Plan::default().core("LLM_MAX_RETRIES", 1).start().await;
    let mut person = node.at_core().await;
    person.hello().await;
    let mut texts = Vec::new();
    for number in 0..4 {
        node.standin.push(Answer::status(500));
        let (text, done) = ask(&mut person, &format!("m{number}"), "estoy triste y no sé qué hacer").await;
        assert_eq!((&done["source"], &done["finish"]), (&json!("companion"), &json!("stop")));
        assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
        texts.push(text);
    }
    let said = texts.len();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), said, "it does not repeat itself");
}
