//! Requests rejected by a provider: for their format or for their content.

use serde_json::{Value, json};
use testkit::line_peer::LinePeer;
use testkit::llm::{Answer, Hang, Request};
use tokio::io::DuplexStream;

use super::fault_fixture::{AnswerOutcome, Fixture, all_at_once};
use super::provider::{Provider, Script};
use super::{SETTINGS, answer, begun, counts, good, in_time};
use crate::test_client::TestClient;

/// Requests received by the first provider.
fn requests(fixture: &Fixture) -> Vec<Request> {
    let Some(Provider::Standin(standin)) = fixture.providers.first() else { panic!("no stand-in") };
    standin.requests()
}

fn texts(request: &Request) -> String {
    let body = request.body();
    let messages = body["messages"].as_array().unwrap().iter();
    messages.map(|message| message["content"].as_str().unwrap()).collect::<Vec<_>>().join("|")
}

async fn source(person: &mut TestClient<LinePeer<DuplexStream>>, id: &str, text: &str) -> Value {
    person.ask(id, text).await.done["source"].clone()
}

/// A rejection that names a field makes the core drop the field, now and in later requests.
#[tokio::test(start_paused = true)]
async fn drops_request_fields_the_provider_rejects() {
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
        let mut fixture =
            Fixture::open(vec![Script::Answers(vec![Answer::refusal(status, body), good(), good()])], &SETTINGS).await;
        for calls in [2, 3] {
            let (outcome, took) = fixture.ask().await;
            assert_eq!(outcome, answer("ya estoy"), "{fault}");
            assert!(in_time(took, &(0..=0)), "{fault}: {took:?}");
            assert_eq!(counts(&fixture).await, [calls], "{fault}");
        }
        for request in &requests(&fixture)[1..] {
            let body = request.body();
            assert!(body.get(without).is_none(), "{fault}: {body}");
            assert!(with.is_none_or(|with| body.get(with).is_some()), "{fault}: {body}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sends_instructions_without_a_system_role() {
    let refused = json!({"object": "error", "message": "System role not supported", "code": 400});
    let mut fixture =
        Fixture::open(vec![Script::Answers(vec![Answer::refusal(400, refused), good()])], &SETTINGS).await;
    assert_eq!(fixture.ask().await.0, answer("ya estoy"));
    let [first, second] = &requests(&fixture)[..] else { panic!("not two requests") };
    assert_eq!(first.body()["messages"][0]["role"], "system");
    let messages = second.body()["messages"].clone();
    assert_eq!((messages.as_array().unwrap().len(), &messages[0]["role"]), (1, &json!("user")));
    assert_eq!(texts(second), texts(first).replace('|', "\n\n"));
}

/// Attempts at a provider that rejects everything are bounded.
#[tokio::test(start_paused = true)]
async fn bounds_attempts_at_a_provider_that_rejects_everything() {
    let all = ["max_tokens", "max_completion_tokens", "temperature", "stream_options"].join(", ");
    let refused = json!({"error": {"message": format!("Unknown parameters: {all}. System role not supported")}});
    let mut fixture = Fixture::open(vec![Script::Always(Answer::refusal(400, refused))], &SETTINGS).await;
    assert_eq!(fixture.ask().await.0, AnswerOutcome::Companion);
    let [calls] = counts(&fixture).await[..] else { panic!("not one provider") };
    assert!((2..=6).contains(&calls), "{calls}");
    assert_eq!(fixture.ask().await.0, AnswerOutcome::Companion);
    assert_eq!(counts(&fixture).await, [calls + 1], "nothing is left to be learnt");
}

/// A flagged message costs its user one answer and other users nothing.
#[tokio::test(start_paused = true)]
async fn flagged_message_does_not_open_the_breaker() {
    let azure = json!({"error": {"message": "filtered: content management policy", "code": "content_filter", "param": "prompt"}});
    let openrouter =
        json!({"error": {"code": 403, "message": "Input was flagged", "metadata": {"flagged_input": "uno"}}});
    let empty = Answer { finish: "content_filter".to_owned(), ..Answer::default() };
    for flagged in [Answer::refusal(400, azure), Answer::refusal(403, openrouter), empty] {
        let answers = vec![flagged.clone(), good(), good()];
        let mut fixture = Fixture::open(vec![Script::Answers(answers)], &SETTINGS).await;
        assert_eq!(source(&mut fixture.person, "a", "algo terrible").await, "companion");
        for id in ["b", "c"] {
            assert_eq!(source(&mut fixture.person, id, &format!("mensaje {id}")).await, "llm", "{flagged:?}");
        }
        let requests = requests(&fixture);
        assert_eq!(requests.len(), 3, "{flagged:?}");
        assert!(texts(&requests[0]).contains("algo terrible"));
        assert!(!texts(&requests[1]).contains("algo terrible") && !texts(&requests[2]).contains("algo terrible"));
        assert!(texts(&requests[2]).contains("mensaje b"));

        let fixture =
            Fixture::open(vec![Script::Answers([vec![flagged.clone(); 20], vec![good()]].concat())], &SETTINGS).await;
        let mut people = fixture.others(20).await;
        assert!(all_at_once(&mut people, "a").await.iter().all(|(_, source)| source == "companion"));
        assert_eq!(counts(&fixture).await, [20], "{flagged:?}: asked once each, and never left alone");
        assert_eq!(source(&mut fixture.others(1).await[0], "a", "hola").await, "llm");
    }
}

/// The flagged message is in the history, but this core has not seen the flag.
#[tokio::test(start_paused = true)]
async fn omits_flagged_message_from_history() {
    let flagged = Answer::refusal(400, json!({"error": {"code": "content_filter"}}));
    // As far as the core knows, the companion answered the first for another reason.
    let answers = vec![Answer::status(401), flagged, good(), good()];
    let mut fixture = Fixture::open(vec![Script::Answers(answers)], &SETTINGS).await;
    assert_eq!(source(&mut fixture.person, "a", "algo terrible").await, "companion");
    assert_eq!(source(&mut fixture.person, "b", "otra cosa").await, "llm");
    assert_eq!(source(&mut fixture.person, "c", "y otra").await, "llm");
    let requests: Vec<_> = requests(&fixture).iter().map(texts).collect();
    assert_eq!(requests.len(), 4);
    let holds: Vec<_> = requests.iter().map(|texts| texts.contains("algo terrible")).collect();
    assert_eq!(holds, [true, true, false, false]);
    assert!(requests[3].contains("otra cosa"));
}

/// Whatever its outcome, the flagged message is identified when a later prompt is rejected.
#[tokio::test(start_paused = true)]
async fn finds_flagged_message_without_a_hint() {
    let flagged = || Answer::refusal(400, json!({"error": {"code": "content_filter"}}));
    let ending = |answer, finish: &str| Answer { finish: finish.to_owned(), ..answer };
    let silent = || Answer::default().hanging(Hang::Headers);
    for (fault, first, refused) in [
        ("stopped before its refusal", silent(), flagged()),
        ("filtered in mid-answer", ending(begun(), "content_filter"), flagged()),
        ("answered", good(), flagged()),
    ] {
        let is_stopped = first == silent();
        let mut fixture = Fixture::open(vec![Script::Answers(vec![first, refused, good(), good()])], &SETTINGS).await;
        fixture.person.say("a", "algo terrible").await;
        if is_stopped {
            let Some(Provider::Standin(standin)) = fixture.providers.first() else { panic!("no stand-in") };
            standin.wait_for(|calls| calls.len() == 1).await.unwrap();
            fixture.person.send(json!({"type": "stop", "id": "a"})).await;
        }
        fixture.person.frame_of("done").await;
        assert_eq!(source(&mut fixture.person, "b", "otra cosa").await, "llm", "{fault}");
        assert_eq!(source(&mut fixture.person, "c", "y otra").await, "llm", "{fault}");
        let requests: Vec<_> = requests(&fixture).iter().map(texts).collect();
        let holds: Vec<_> = requests.iter().map(|texts| texts.contains("algo terrible")).collect();
        assert_eq!(holds, [true, true, false, false], "{fault}");
        assert!(requests[3].contains("otra cosa"), "{fault}");
    }
}

/// A filtered answer is not requested again; later prompts omit the possible cause.
#[tokio::test(start_paused = true)]
async fn omits_history_after_filtered_answers() {
    let taken = || Answer { finish: "sensitive".to_owned(), ..Answer::default() };
    for (first, sources, holds) in [
        (vec![Answer::status(401), taken()], &["companion", "companion", "llm"][..], &[true, true, false][..]),
        (vec![good(), taken(), taken()], &["llm", "companion", "companion", "llm"], &[true, true, true, false]),
    ] {
        let answers = first.into_iter().chain([good()]).collect();
        let mut fixture = Fixture::open(vec![Script::Answers(answers)], &SETTINGS).await;
        for (number, (text, want)) in ["algo terrible", "uno", "dos", "tres"].into_iter().zip(sources).enumerate() {
            assert_eq!(
                source(&mut fixture.person, &format!("m{number}"), text).await,
                *want,
                "{number} of {sources:?}"
            );
        }
        let got: Vec<_> = requests(&fixture).iter().map(|request| texts(request).contains("algo terrible")).collect();
        assert_eq!(got, holds, "{sources:?}");
    }
}

/// Messages omitted for length are not flagged: the summary keeps them.
#[tokio::test(start_paused = true)]
async fn summarizes_history_that_is_too_long() {
    let long = Answer::refusal(400, json!({"error": {"code": "context_length_exceeded", "param": "messages"}}));
    let answers = vec![good(), good(), long, good(), Answer::text("resumen")];
    let settings = [SETTINGS.as_slice(), &[("LLM_SUMMARY_EVERY_MESSAGES", "3")]].concat();
    let mut fixture = Fixture::open(vec![Script::Answers(answers)], &settings).await;
    for (id, text) in [("a", "😀".repeat(1_000)), ("b", "segundo".to_owned()), ("c", "tercero".to_owned())] {
        assert_eq!(source(&mut fixture.person, id, &text).await, "llm", "{id}");
    }
    let Some(Provider::Standin(standin)) = fixture.providers.first() else { panic!("no stand-in") };
    let calls = standin.wait_for(|calls| calls.len() == 5).await.unwrap();
    let holds: Vec<_> = calls.iter().map(|call| texts(call).contains('😀')).collect();
    assert_eq!(holds, [true, true, true, false, true]);
}

#[tokio::test(start_paused = true)]
async fn halves_history_that_does_not_fit() {
    let long = || Answer::refusal(400, json!({"error": {"code": "context_length_exceeded", "param": "messages"}}));
    // A single message that never fits.
    let answers = vec![good(), long(), long(), good(), good()];
    let mut fixture = Fixture::open(vec![Script::Answers(answers)], &SETTINGS).await;
    assert_eq!(source(&mut fixture.person, "a", "primero").await, "llm");
    assert_eq!(source(&mut fixture.person, "b", &"😀".repeat(2_000)).await, "companion");
    for id in ["c", "d"] {
        assert_eq!(source(&mut fixture.person, id, "hola").await, "llm");
    }
    let requests: Vec<_> = requests(&fixture).iter().map(texts).collect();
    assert_eq!(requests.len(), 5);
    assert!(requests[2].contains('😀') && !requests[2].contains("primero"));
    assert!(!requests[3].contains('😀') && !requests[4].contains('😀'));

    // The history does not fit; half of it does.
    let answers = vec![good(), good(), long(), good(), good()];
    let mut fixture = Fixture::open(vec![Script::Answers(answers)], &SETTINGS).await;
    for (id, text) in [
        ("a", "😀".repeat(1_000)),
        ("b", "segundo".to_owned()),
        ("c", "tercero".to_owned()),
        ("d", "cuarto".to_owned()),
    ] {
        assert_eq!(source(&mut fixture.person, id, &text).await, "llm", "{id}");
    }
    let [.., refused, shorter, next] = &self::requests(&fixture)[..] else { panic!("too few requests") };
    assert!(texts(refused).contains('😀') && !texts(shorter).contains('😀') && !texts(next).contains('😀'));
    assert!(texts(shorter).contains("segundo") && texts(next).contains("tercero"));
}
