//! Who answers, and what of a model's answer people get to read: on the wire, in the store, at other cores.

use serde_json::{Value, json};
use testkit::llm::{Answer, Hang, LlmStandin, Outcome};
use testkit::peer::Peer;

use crate::person::Person;
use crate::town::Plan;

/// Harmless up to the number, which is in no list of help lines.
const BAD: &str =
    "Te leo y lamento mucho lo que te pasa. Podés llamar ahora al 0800-555-7788 y pedir ayuda, te van a atender.";
/// What may be shown of it.
const GOOD_PART: &str = "Te leo y lamento mucho lo que te pasa. Podés llamar ahora al ";
const GOOD: &str = "Te leo, y tiene sentido que estés así. ¿Qué es lo que más te pesa hoy?";

/// What message `id` was answered: the text as a client holds it at the end, and `done`.
async fn told<P: Peer>(person: &mut Person<P>, id: &str) -> (String, Value) {
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

async fn ask<P: Peer>(person: &mut Person<P>, id: &str, text: &str) -> (String, Value) {
    person.say(id, text).await;
    told(person, id).await
}

/// The stored answer to message `id`.
async fn stored<P: Peer>(person: &mut Person<P>, id: &str) -> Value {
    person.send(json!({"type": "request", "id": "history", "method": "history", "params": {"limit": 200}})).await;
    let response = person.frame_of("response").await;
    let entries = response["result"]["entries"].as_array().unwrap();
    entries.iter().find(|entry| entry["id"] == id && entry["role"] == "assistant").unwrap().clone()
}

/// `text` in two pieces, cut behind so many characters.
fn in_two(text: &str, at: usize) -> [String; 2] {
    [text.chars().take(at).collect(), text.chars().skip(at).collect()]
}

fn system_prompt(standin: &LlmStandin) -> String {
    let requests = standin.requests();
    requests.last().unwrap().body()["messages"][0]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_bad_answer_is_replaced_wherever_it_is_cut() {
    // The script is for answers only.
    let town = Plan::default().core("RATE_MAX_MESSAGES", 10_000).core("LLM_SUMMARY", "off").start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    let mut results = Vec::new();
    for at in (1..BAD.chars().count()).step_by(3) {
        // The model would go on: only the end of the call ends it.
        town.standin.push(Answer::pieces(in_two(BAD, at)).hanging(Hang::Stream));
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
    town.standin.wait_for(|calls| calls.iter().all(|call| call.outcome == Outcome::Cancelled)).await.unwrap();
    // Nothing of it harms the provider: the breaker is closed and the slot free.
    town.standin.push(Answer::text(GOOD));
    let (text, done) = ask(&mut person, "after", "gracias").await;
    assert_eq!((text.as_str(), &done["source"]), (GOOD, &json!("llm")));
    assert!(town.logs().iter().all(|line| !line.contains("7788")));
}

#[tokio::test]
async fn a_reload_and_a_repeated_message_show_the_same() {
    let town = Plan::default().start().await;
    let mut person = town.at_core().await;
    let welcome = person.hello().await;
    town.standin.push(Answer::text(BAD));
    let (text, done) = ask(&mut person, "a", "hola, ¿cómo va?").await;
    drop(person);
    let mut person = town.at_core().await;
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
    assert_eq!(town.standin.total(), 1);
    // What the model reads later is what was shown.
    town.standin.push(Answer::text(GOOD));
    ask(&mut person, "b", "contame").await;
    let sent = town.standin.requests().last().unwrap().body().to_string();
    assert!(!sent.contains("7788"), "{sent}");
}

#[tokio::test]
async fn a_clean_answer_is_shown_as_it_comes() {
    let town = Plan::default().start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    let at = 39;
    let held = town.standin.push_held(Answer::pieces(in_two(GOOD, at)), 1);
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
async fn what_is_held_back_when_a_person_stops_is_never_shown() {
    let town = Plan::default().start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    // It ends where the number has begun, which the screen waits for.
    let _held = town.standin.push_held(Answer::pieces(in_two(BAD, 69)), 1);
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
async fn an_answer_that_breaks_off_in_the_middle_of_a_bad_one_shows_nothing_of_it() {
    let town = Plan::default().start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    town.standin.push(Answer { cut: true, ..Answer::text(BAD) });
    let (text, done) = ask(&mut person, "a", "hola, ¿cómo va?").await;
    assert!(!text.contains("555") && done["source"] == "screened", "{text} {done}");
}

#[tokio::test]
async fn imminent_is_for_the_companion_and_costs_no_call() {
    let town = Plan::default().start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    let (text, done) = ask(&mut person, "a", "ya me tomé todas las pastillas, chau a todos").await;
    assert_eq!((&done["source"], &done["finish"]), (&json!("companion"), &json!("stop")), "{text}");
    assert!(!text.is_empty() && done["model"].is_null());
    assert_eq!(town.standin.total(), 0);
}

#[tokio::test]
async fn the_question_who_answers_gets_the_truth_whatever_the_model_would_say() {
    let town = Plan::default().start().await;
    town.standin.push(Answer::text("Sí, soy una persona de carne y hueso."));
    for (number, (locale, question)) in [
        ("es-AR", "¿sos una persona?"),
        ("es-AR", "sos un robot o hay alguien del otro lado?"),
        ("en", "are you human?"),
        ("en", "am i talking to a real person or an ai"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut person = town.at_core().await;
        person.send(json!({"type": "hello", "v": 1, "locale": locale})).await;
        person.frame_of("welcome").await;
        let (text, done) = ask(&mut person, &format!("q{number}"), question).await;
        assert_eq!(done["source"], "companion", "{question}: {text}");
        let told = text.to_lowercase();
        let words = ["inteligencia artificial", "artificial intelligence", " ia", " ai", "bot", "programa", "program"];
        assert!(words.iter().any(|words| told.contains(words)), "{question}: {text}");
    }
    assert_eq!((town.standin.total(), town.standin.queued()), (0, 1));
}

#[tokio::test]
async fn instructions_and_temperature_follow_the_risk() {
    let town = Plan::default().core("LLM_TEMPERATURE", "0.9").start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    ask(&mut person, "a", "hoy fui a la plaza con mi perro").await;
    let calm = system_prompt(&town.standin);
    let temperature = |standin: &LlmStandin| standin.requests().last().unwrap().body()["temperature"].as_f64().unwrap();
    assert!((temperature(&town.standin) - 0.9).abs() < 1e-6);
    ask(&mut person, "b", "me quiero matar").await;
    let strict = system_prompt(&town.standin);
    assert!(strict.starts_with(&calm) && strict.len() > calm.len() + 500, "{strict}");
    assert!(strict.contains("Que esté a salvo importa más"), "{strict}");
    assert!(temperature(&town.standin) <= 0.2 + 1e-6);
}

#[tokio::test]
async fn a_model_that_is_down_leaves_nobody_without_an_answer() {
    let town = Plan::default().core("LLM_MAX_RETRIES", 1).start().await;
    let mut person = town.at_core().await;
    person.hello().await;
    let mut texts = Vec::new();
    for number in 0..4 {
        town.standin.push(Answer::status(500));
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
