//! What a provider refuses: how the request is built, what one person said, and what it counts for.

use serde_json::{Value, json};
use testkit::line_peer::LinePeer;
use testkit::llm::{Answer, Hang, Request};
use tokio::io::DuplexStream;

use super::provider::{Provider, Script};
use super::scene::{Heard, Scene, all_at_once};
use super::{SETTINGS, answer, begun, counts, good, in_time};
use crate::person::Person;

/// The requests that the first provider got.
fn requests(scene: &Scene) -> Vec<Request> {
    let Some(Provider::Standin(standin)) = scene.providers.first() else { panic!("no stand-in") };
    standin.requests()
}

fn texts(request: &Request) -> String {
    let body = request.body();
    let messages = body["messages"].as_array().unwrap().iter();
    messages.map(|message| message["content"].as_str().unwrap()).collect::<Vec<_>>().join("|")
}

async fn source(person: &mut Person<LinePeer<DuplexStream>>, id: &str, text: &str) -> Value {
    person.ask(id, text).await.done["source"].clone()
}

/// A refusal that names a part of the request is learnt from at once, and the lesson is kept.
#[tokio::test(start_paused = true)]
async fn a_request_in_words_that_a_provider_knows() {
    let openai = |param: &str, message: &str| json!({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": "unsupported_value"}});
    let mistral = json!({"object": "error", "message": {"detail": [
        {"type": "extra_forbidden", "loc": ["body", "stream_options", "include_usage"], "msg": "Extra inputs are not permitted"}
    ]}});
    for (fault, status, body, without, with) in [
        (
            "max_tokens",
            400,
            openai("max_tokens", "Use 'max_completion_tokens' instead."),
            "max_tokens",
            Some("max_completion_tokens"),
        ),
        (
            "temperature",
            400,
            openai("temperature", "Only the default (1) value is supported."),
            "temperature",
            Some("max_tokens"),
        ),
        ("stream_options", 422, mistral, "stream_options", Some("max_tokens")),
    ] {
        let mut scene =
            Scene::open(vec![Script::Answers(vec![Answer::refusal(status, body), good(), good()])], &SETTINGS).await;
        for calls in [2, 3] {
            let (heard, took) = scene.ask().await;
            assert_eq!(heard, answer("ya estoy"), "{fault}");
            assert!(in_time(took, &(0..=0)), "{fault}: {took:?}");
            assert_eq!(counts(&scene).await, [calls], "{fault}");
        }
        for request in &requests(&scene)[1..] {
            let body = request.body();
            assert!(body.get(without).is_none(), "{fault}: {body}");
            assert!(with.is_none_or(|with| body.get(with).is_some()), "{fault}: {body}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn instructions_without_a_role_of_their_own() {
    let refused = json!({"object": "error", "message": "System role not supported", "code": 400});
    let mut scene = Scene::open(vec![Script::Answers(vec![Answer::refusal(400, refused), good()])], &SETTINGS).await;
    assert_eq!(scene.ask().await.0, answer("ya estoy"));
    let [first, second] = &requests(&scene)[..] else { panic!("not two requests") };
    assert_eq!(first.body()["messages"][0]["role"], "system");
    let messages = second.body()["messages"].clone();
    assert_eq!((messages.as_array().unwrap().len(), &messages[0]["role"]), (1, &json!("user")));
    assert_eq!(texts(second), texts(first).replace('|', "\n\n"));
}

/// A provider that refuses whatever it is sent is asked a bounded number of times.
#[tokio::test(start_paused = true)]
async fn a_provider_that_is_never_content() {
    let all = ["max_tokens", "max_completion_tokens", "temperature", "stream_options"].join(", ");
    let refused = json!({"error": {"message": format!("Unknown parameters: {all}. System role not supported")}});
    let mut scene = Scene::open(vec![Script::Always(Answer::refusal(400, refused))], &SETTINGS).await;
    assert_eq!(scene.ask().await.0, Heard::Companion);
    let [calls] = counts(&scene).await[..] else { panic!("not one provider") };
    assert!((2..=6).contains(&calls), "{calls}");
    assert_eq!(scene.ask().await.0, Heard::Companion);
    assert_eq!(counts(&scene).await, [calls + 1], "nothing is left to be learnt");
}

/// What one person said costs nobody else the provider, and themselves only the one answer.
#[tokio::test(start_paused = true)]
async fn a_flagged_message() {
    let azure = json!({"error": {"message": "filtered: content management policy", "code": "content_filter", "param": "prompt"}});
    let openrouter =
        json!({"error": {"code": 403, "message": "Input was flagged", "metadata": {"flagged_input": "uno"}}});
    let empty = Answer { finish: "content_filter".to_owned(), ..Answer::default() };
    for flagged in [Answer::refusal(400, azure), Answer::refusal(403, openrouter), empty] {
        let answers = vec![flagged.clone(), good(), good()];
        let mut scene = Scene::open(vec![Script::Answers(answers)], &SETTINGS).await;
        assert_eq!(source(&mut scene.person, "a", "algo terrible").await, "companion");
        for id in ["b", "c"] {
            assert_eq!(source(&mut scene.person, id, &format!("mensaje {id}")).await, "llm", "{flagged:?}");
        }
        let requests = requests(&scene);
        assert_eq!(requests.len(), 3, "{flagged:?}");
        assert!(texts(&requests[0]).contains("algo terrible"));
        assert!(!texts(&requests[1]).contains("algo terrible") && !texts(&requests[2]).contains("algo terrible"));
        assert!(texts(&requests[2]).contains("mensaje b"));

        let scene =
            Scene::open(vec![Script::Answers([vec![flagged.clone(); 20], vec![good()]].concat())], &SETTINGS).await;
        let mut people = scene.others(20).await;
        assert!(all_at_once(&mut people, "a").await.iter().all(|(_, source)| source == "companion"));
        assert_eq!(counts(&scene).await, [20], "{flagged:?}: asked once each, and never left alone");
        assert_eq!(source(&mut scene.others(1).await[0], "a", "hola").await, "llm");
    }
}

/// The message that was flagged stands in a history of which this core does not know it.
#[tokio::test(start_paused = true)]
async fn a_flagged_history() {
    let flagged = Answer::refusal(400, json!({"error": {"code": "content_filter"}}));
    // The first was answered by the companion for another reason, as far as the core knows.
    let answers = vec![Answer::status(401), flagged, good(), good()];
    let mut scene = Scene::open(vec![Script::Answers(answers)], &SETTINGS).await;
    assert_eq!(source(&mut scene.person, "a", "algo terrible").await, "companion");
    assert_eq!(source(&mut scene.person, "b", "otra cosa").await, "llm");
    assert_eq!(source(&mut scene.person, "c", "y otra").await, "llm");
    let requests: Vec<_> = requests(&scene).iter().map(texts).collect();
    assert_eq!(requests.len(), 4);
    let holds: Vec<_> = requests.iter().map(|texts| texts.contains("algo terrible")).collect();
    assert_eq!(holds, [true, true, false, false]);
    assert!(requests[3].contains("otra cosa"));
}

/// Whatever came of the message that was flagged, it is found to be the cause when a later prompt is refused.
#[tokio::test(start_paused = true)]
async fn a_flagged_history_that_does_not_look_like_one() {
    let flagged = || Answer::refusal(400, json!({"error": {"code": "content_filter"}}));
    let ending = |answer, finish: &str| Answer { finish: finish.to_owned(), ..answer };
    let silent = || Answer::default().hanging(Hang::Headers);
    for (fault, first, refused) in [
        ("stopped before its refusal", silent(), flagged()),
        ("filtered in mid-answer", ending(begun(), "content_filter"), flagged()),
        ("answered", good(), flagged()),
    ] {
        let is_stopped = first == silent();
        let mut scene = Scene::open(vec![Script::Answers(vec![first, refused, good(), good()])], &SETTINGS).await;
        scene.person.say("a", "algo terrible").await;
        if is_stopped {
            let Some(Provider::Standin(standin)) = scene.providers.first() else { panic!("no stand-in") };
            standin.wait_for(|calls| calls.len() == 1).await.unwrap();
            scene.person.send(json!({"type": "stop", "id": "a"})).await;
        }
        scene.person.frame_of("done").await;
        assert_eq!(source(&mut scene.person, "b", "otra cosa").await, "llm", "{fault}");
        assert_eq!(source(&mut scene.person, "c", "y otra").await, "llm", "{fault}");
        let requests: Vec<_> = requests(&scene).iter().map(texts).collect();
        let holds: Vec<_> = requests.iter().map(|texts| texts.contains("algo terrible")).collect();
        assert_eq!(holds, [true, true, false, false], "{fault}");
        assert!(requests[3].contains("otra cosa"), "{fault}");
    }
}

/// An answer that is taken away is not asked for again; the next prompts do without what may be the cause of it.
#[tokio::test(start_paused = true)]
async fn a_history_of_which_every_answer_is_taken_away() {
    let taken = || Answer { finish: "sensitive".to_owned(), ..Answer::default() };
    for (first, sources, holds) in [
        (vec![Answer::status(401), taken()], &["companion", "companion", "llm"][..], &[true, true, false][..]),
        (vec![good(), taken(), taken()], &["llm", "companion", "companion", "llm"], &[true, true, true, false]),
    ] {
        let answers = first.into_iter().chain([good()]).collect();
        let mut scene = Scene::open(vec![Script::Answers(answers)], &SETTINGS).await;
        for (number, (text, want)) in ["algo terrible", "uno", "dos", "tres"].into_iter().zip(sources).enumerate() {
            assert_eq!(source(&mut scene.person, &format!("m{number}"), text).await, *want, "{number} of {sources:?}");
        }
        let got: Vec<_> = requests(&scene).iter().map(|request| texts(request).contains("algo terrible")).collect();
        assert_eq!(got, holds, "{sources:?}");
    }
}

/// What makes a prompt too long is as harmless as before: the summary keeps it.
#[tokio::test(start_paused = true)]
async fn what_is_too_long_is_summed_up() {
    let long = Answer::refusal(400, json!({"error": {"code": "context_length_exceeded", "param": "messages"}}));
    let answers = vec![good(), good(), long, good(), Answer::text("resumen")];
    let settings = [SETTINGS.as_slice(), &[("LLM_SUMMARY_EVERY_MESSAGES", "3")]].concat();
    let mut scene = Scene::open(vec![Script::Answers(answers)], &settings).await;
    for (id, text) in [("a", "😀".repeat(1_000)), ("b", "segundo".to_owned()), ("c", "tercero".to_owned())] {
        assert_eq!(source(&mut scene.person, id, &text).await, "llm", "{id}");
    }
    let Some(Provider::Standin(standin)) = scene.providers.first() else { panic!("no stand-in") };
    let calls = standin.wait_for(|calls| calls.len() == 5).await.unwrap();
    let holds: Vec<_> = calls.iter().map(|call| texts(call).contains('😀')).collect();
    assert_eq!(holds, [true, true, true, false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_context_that_is_too_long() {
    let long = || Answer::refusal(400, json!({"error": {"code": "context_length_exceeded", "param": "messages"}}));
    // One message that never fits.
    let answers = vec![good(), long(), long(), good(), good()];
    let mut scene = Scene::open(vec![Script::Answers(answers)], &SETTINGS).await;
    assert_eq!(source(&mut scene.person, "a", "primero").await, "llm");
    assert_eq!(source(&mut scene.person, "b", &"😀".repeat(2_000)).await, "companion");
    for id in ["c", "d"] {
        assert_eq!(source(&mut scene.person, id, "hola").await, "llm");
    }
    let requests: Vec<_> = requests(&scene).iter().map(texts).collect();
    assert_eq!(requests.len(), 5);
    assert!(requests[2].contains('😀') && !requests[2].contains("primero"));
    assert!(!requests[3].contains('😀') && !requests[4].contains('😀'));

    // A history that does not fit: half of it does.
    let answers = vec![good(), good(), long(), good(), good()];
    let mut scene = Scene::open(vec![Script::Answers(answers)], &SETTINGS).await;
    for (id, text) in [
        ("a", "😀".repeat(1_000)),
        ("b", "segundo".to_owned()),
        ("c", "tercero".to_owned()),
        ("d", "cuarto".to_owned()),
    ] {
        assert_eq!(source(&mut scene.person, id, &text).await, "llm", "{id}");
    }
    let [.., refused, shorter, next] = &self::requests(&scene)[..] else { panic!("too few requests") };
    assert!(texts(refused).contains('😀') && !texts(shorter).contains('😀') && !texts(next).contains('😀'));
    assert!(texts(shorter).contains("segundo") && texts(next).contains("tercero"));
}
