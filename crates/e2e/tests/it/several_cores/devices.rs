//! One session, two devices, two cores.

use serde_json::{Value, json};
use testkit::llm::Answer;
use testkit::watchdog::{LIMIT, within};

use super::cluster::{Cluster, ClusterClient, Plan};

/// Connects one device per core to one session, with events flowing both ways.
pub(super) async fn two_devices(cluster: &Cluster) -> (ClusterClient, ClusterClient, Value) {
    let (mut first, welcome) = cluster.arrive(0).await;
    let (mut second, _) = cluster.resume(1, &welcome, 0).await;
    for device in [&mut first, &mut second] {
        within(LIMIT, both_are_there(device)).await.unwrap();
    }
    (first, second, welcome)
}

async fn both_are_there(device: &mut ClusterClient) {
    while request(device, "session", Value::Null).await["connections"] != 2 {}
}

pub(super) async fn request(device: &mut ClusterClient, method: &str, params: Value) -> Value {
    device.send(json!({"type": "request", "id": "r", "method": method, "params": params})).await;
    device.frame_of("response").await["result"].take()
}

/// Text of an answer and its `done`; other frames fail the test.
async fn answer(device: &mut ClusterClient) -> (String, Value) {
    answer_and(device, |frame| panic!("out of place: {frame}")).await
}

/// Text of an answer and its `done`; `others` collects other frames.
async fn answer_and(device: &mut ClusterClient, mut others: impl FnMut(&Value)) -> (String, Value) {
    let mut text = String::new();
    loop {
        let frame = device.frame().await;
        match frame["type"].as_str() {
            Some("delta") => {
                assert_eq!(frame["offset"], text.chars().count(), "{frame}");
                text.push_str(frame["text"].as_str().unwrap());
            }
            Some("done") => return (text, frame),
            _ => others(&frame),
        }
    }
}

fn is_turn(frame: &Value, id: &str, seq: u64, text: &str) {
    let received = (&frame["type"], &frame["id"], &frame["seq"], &frame["text"]);
    assert_eq!(received, (&json!("turn"), &json!(id), &json!(seq), &json!(text)), "{frame}");
}

#[tokio::test]
async fn screened_answer_is_replaced_on_every_core() {
    let cluster = Plan::default().start().await;
    let (mut first, mut second, welcome) = two_devices(&cluster).await;
    let bad = ["Te leo. Podés llamar al 0800-", "555-7788 y te van ", "a atender."];
    cluster.standin.push(Answer::pieces(bad).paced(0, 50));
    first.say("a", "hola, ¿cómo va?").await;
    let (text, done) = answer_and(&mut first, |_| {}).await;
    let (there, done_there) = answer_and(&mut second, |_| {}).await;
    assert!(text.starts_with("Te leo.") && !text.contains("555") && done["source"] == "screened", "{text} {done}");
    assert_eq!((&there, &done_there), (&text, &done));
    let (mut third, _) = cluster.resume(1, &welcome, 1).await;
    let stored = third.frame().await;
    assert_eq!((&stored["text"], &stored["source"]), (&json!(text), &json!("screened")), "{stored}");
}

#[tokio::test]
async fn devices_share_turns_across_cores() {
    let cluster = Plan::default().start().await;
    let (mut first, mut second, welcome) = two_devices(&cluster).await;

    first.say("a", "hola").await;
    assert_eq!(first.frame().await["type"], "accepted");
    is_turn(&second.frame().await, "a", 1, "hola");
    let received = answer(&mut first).await;
    assert_eq!((received.0.as_str(), &received.1["seq"]), ("eco: hola", &json!(2)));
    assert_eq!(answer(&mut second).await, received);

    // In the other direction too, without duplicates.
    let reply = second.ask("b", "¿qué tal?").await;
    assert_eq!((reply.accepted["seq"].as_u64(), reply.text.as_str()), (Some(3), "eco: ¿qué tal?"));
    is_turn(&first.frame().await, "b", 3, "¿qué tal?");
    assert_eq!(answer(&mut first).await, (reply.text, reply.done));

    // A resend of a message that the other core has answered gets the stored answer.
    let calls = cluster.standin.total();
    let again = first.ask("b", "¿qué tal?").await;
    assert_eq!((again.accepted["seq"].as_u64(), again.text.as_str()), (Some(3), "eco: ¿qué tal?"));
    assert_eq!(cluster.standin.total(), calls);

    request(&mut second, "set_locale", json!({"locale": "en"})).await;
    while request(&mut first, "session", Value::Null).await["locale"] != "en" {}
    let erased = request(&mut first, "erase", json!({"confirm": welcome["session"]})).await;
    assert_eq!(erased, json!({"erased": 4}));
    assert_eq!(second.read().await, None);
}

#[tokio::test]
async fn answer_resumes_on_another_core() {
    let cluster = Plan::default().start().await;
    let (mut person, welcome) = cluster.arrive(0).await;
    let held = cluster.standin.push_held(Answer::pieces(["Te ", "escucho, ", "contame ", "más."]), 1);
    person.say("a", "hola").await;
    assert_eq!(person.frame_of("delta").await["text"], "Te ");
    drop(person);
    let (mut person, again) = cluster.resume(1, &welcome, 0).await;
    assert_eq!((&again["resumed"], &again["seq"]), (&json!(true), &json!(1)));
    is_turn(&person.frame().await, "a", 1, "hola");
    // Resent, as after a lost `accepted`: processed once.
    person.say("a", "hola").await;
    let (mut received, mut held) = (Vec::new(), Some(held));
    let others = |frame: &Value| {
        received.push((frame["type"].clone(), frame["seq"].clone()));
        drop(held.take());
    };
    let (text, done) = answer_and(&mut person, others).await;
    assert_eq!((text.as_str(), &done["seq"], &done["finish"]), ("Te escucho, contame más.", &json!(2), &json!("stop")));
    assert_eq!(received, [(json!("accepted"), json!(1))]);
    assert_eq!(cluster.standin.total(), 1);
}

#[tokio::test]
async fn turns_are_serialized_and_stop_works_from_either_core() {
    let cluster = Plan::default().start().await;
    let (mut first, mut second, _) = two_devices(&cluster).await;
    let _held = cluster.standin.push_held(Answer::pieces(["uno ", "dos ", "tres ", "cuatro"]), 1);
    first.say("a", "contá").await;
    assert_eq!(second.frame_of("delta").await["text"], "uno ");
    second.say("b", "después").await;
    assert_eq!(second.frame_of("accepted").await["seq"], 2);
    // A third exceeds the user's limit on either core.
    for device in [&mut first, &mut second] {
        device.say("c", "¿y yo?").await;
        let error = device.frame_of("error").await;
        assert_eq!((&error["code"], &error["id"]), (&json!("user_busy"), &json!("c")), "{error}");
    }
    assert_eq!(cluster.standin.total(), 1, "the second answer waits for the first");
    second.send(json!({"type": "stop", "id": "a"})).await;
    second.send(json!({"type": "stop", "id": "nobody"})).await;
    for device in [&mut first, &mut second] {
        let done = device.frame_of("done").await;
        assert_eq!((&done["id"], &done["finish"]), (&json!("a"), &json!("stopped")), "{done}");
    }
    for device in [&mut first, &mut second] {
        let done = device.frame_of("done").await;
        assert_eq!((&done["id"], &done["seq"], &done["finish"]), (&json!("b"), &json!(4), &json!("stop")), "{done}");
    }
}

#[tokio::test]
async fn surviving_core_answers_messages_of_a_dead_one() {
    let mut cluster = Plan::default().start().await;
    // The core is killed before the first delta of one answer and mid-way in another.
    let (mut waiting, of_waiting) = cluster.arrive(0).await;
    let _nothing = cluster.standin.push_held(Answer::text("nunca"), 0);
    waiting.say("w", "¿estás?").await;
    waiting.frame_of("accepted").await;
    within(LIMIT, cluster.standin.wait_for(|calls| calls.len() == 1)).await.unwrap().unwrap();
    let (mut reading, of_reading) = cluster.arrive(0).await;
    let _half = cluster.standin.push_held(Answer::pieces(["A ", "medias"]), 1);
    reading.say("r", "contame").await;
    assert_eq!(reading.frame_of("delta").await["text"], "A ");
    // Both clients have resumed on the other core and resent their unanswered messages.
    let (mut waiting, _) = cluster.resume(1, &of_waiting, 0).await;
    waiting.say("w", "¿estás?").await;
    assert_eq!(waiting.frame_of("accepted").await["seq"], 1);
    let (mut reading, _) = cluster.resume(1, &of_reading, 0).await;
    assert_eq!(reading.frame_of("delta").await["text"], "A ");

    cluster.cores[0].kill().await;
    assert_eq!(answer(&mut waiting).await.0, "eco: ¿estás?");
    // A partial answer that was shown is not replaced unasked: a resend requests it.
    let error = reading.frame_of("error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("unavailable"), &json!("r")), "{error}");
    let again = reading.ask("r", "contame").await;
    assert_eq!((again.accepted["seq"].as_u64(), again.text.as_str()), (Some(1), "eco: contame"));
}
