//! One session, two devices, two cores.

use serde_json::{Value, json};
use testkit::llm::Answer;
use testkit::watchdog::{LIMIT, within};

use super::city::{City, Plan, Visitor};

/// A device at each core, in one session; each knows of the other.
async fn two_devices(city: &City) -> (Visitor, Visitor, Value) {
    let (mut first, welcome) = city.arrive(0).await;
    let (mut second, _) = city.resume(1, &welcome, 0).await;
    for device in [&mut first, &mut second] {
        within(LIMIT, both_are_there(device)).await.unwrap();
    }
    (first, second, welcome)
}

async fn both_are_there(device: &mut Visitor) {
    while request(device, "session", Value::Null).await["connections"] != 2 {}
}

async fn request(device: &mut Visitor, method: &str, params: Value) -> Value {
    device.send(json!({"type": "request", "id": "r", "method": method, "params": params})).await;
    device.frame_of("response").await["result"].take()
}

/// The text of an answer and its `done`; nothing else comes before that.
async fn answer(device: &mut Visitor) -> (String, Value) {
    answer_and(device, |frame| panic!("out of place: {frame}")).await
}

/// The same; `others` gets the frames that are not part of it.
async fn answer_and(device: &mut Visitor, mut others: impl FnMut(&Value)) -> (String, Value) {
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
    let told = (&frame["type"], &frame["id"], &frame["seq"], &frame["text"]);
    assert_eq!(told, (&json!("turn"), &json!(id), &json!(seq), &json!(text)), "{frame}");
}

#[tokio::test]
async fn a_bad_answer_is_replaced_at_every_core() {
    let city = Plan::default().start().await;
    let (mut first, mut second, welcome) = two_devices(&city).await;
    let bad = ["Te leo. Podés llamar al 0800-", "555-7788 y te van ", "a atender."];
    city.standin.push(Answer::pieces(bad).paced(0, 50));
    first.say("a", "hola, ¿cómo va?").await;
    let (text, done) = answer_and(&mut first, |_| {}).await;
    let (there, done_there) = answer_and(&mut second, |_| {}).await;
    assert!(text.starts_with("Te leo.") && !text.contains("555") && done["source"] == "screened", "{text} {done}");
    assert_eq!((&there, &done_there), (&text, &done));
    let (mut third, _) = city.resume(1, &welcome, 1).await;
    let stored = third.frame().await;
    assert_eq!((&stored["text"], &stored["source"]), (&json!(text), &json!("screened")), "{stored}");
}

#[tokio::test]
async fn what_one_does_the_other_sees() {
    let city = Plan::default().start().await;
    let (mut first, mut second, welcome) = two_devices(&city).await;

    first.say("a", "hola").await;
    assert_eq!(first.frame().await["type"], "accepted");
    is_turn(&second.frame().await, "a", 1, "hola");
    let told = answer(&mut first).await;
    assert_eq!((told.0.as_str(), &told.1["seq"]), ("eco: hola", &json!(2)));
    assert_eq!(answer(&mut second).await, told);

    // And the other way round; nobody hears anything twice.
    let reply = second.ask("b", "¿qué tal?").await;
    assert_eq!((reply.accepted["seq"].as_u64(), reply.text.as_str()), (Some(3), "eco: ¿qué tal?"));
    is_turn(&first.frame().await, "b", 3, "¿qué tal?");
    assert_eq!(answer(&mut first).await, (reply.text, reply.done));

    // A message that the other core has answered is not answered again.
    let calls = city.standin.total();
    let again = first.ask("b", "¿qué tal?").await;
    assert_eq!((again.accepted["seq"].as_u64(), again.text.as_str()), (Some(3), "eco: ¿qué tal?"));
    assert_eq!(city.standin.total(), calls);

    request(&mut second, "set_locale", json!({"locale": "en"})).await;
    while request(&mut first, "session", Value::Null).await["locale"] != "en" {}
    let erased = request(&mut first, "erase", json!({"confirm": welcome["session"]})).await;
    assert_eq!(erased, json!({"erased": 4}));
    assert_eq!(second.read().await, None);
}

#[tokio::test]
async fn an_answer_goes_on_at_another_core() {
    let city = Plan::default().start().await;
    let (mut person, welcome) = city.arrive(0).await;
    let held = city.standin.push_held(Answer::pieces(["Te ", "escucho, ", "contame ", "más."]), 1);
    person.say("a", "hola").await;
    assert_eq!(person.frame_of("delta").await["text"], "Te ");
    drop(person);
    let (mut person, again) = city.resume(1, &welcome, 0).await;
    assert_eq!((&again["resumed"], &again["seq"]), (&json!(true), &json!(1)));
    is_turn(&person.frame().await, "a", 1, "hola");
    // Sent again, as a client does that heard no `accepted`: nothing is done twice.
    person.say("a", "hola").await;
    let (mut told, mut held) = (Vec::new(), Some(held));
    let others = |frame: &Value| {
        told.push((frame["type"].clone(), frame["seq"].clone()));
        drop(held.take());
    };
    let (text, done) = answer_and(&mut person, others).await;
    assert_eq!((text.as_str(), &done["seq"], &done["finish"]), ("Te escucho, contame más.", &json!(2), &json!("stop")));
    assert_eq!(told, [(json!("accepted"), json!(1))]);
    assert_eq!(city.standin.total(), 1);
}

#[tokio::test]
async fn turns_take_turns_and_stop_from_anywhere() {
    let city = Plan::default().start().await;
    let (mut first, mut second, _) = two_devices(&city).await;
    let _held = city.standin.push_held(Answer::pieces(["uno ", "dos ", "tres ", "cuatro"]), 1);
    first.say("a", "contá").await;
    assert_eq!(second.frame_of("delta").await["text"], "uno ");
    second.say("b", "después").await;
    assert_eq!(second.frame_of("accepted").await["seq"], 2);
    // A third has no room, wherever it is sent.
    for device in [&mut first, &mut second] {
        device.say("c", "¿y yo?").await;
        let error = device.frame_of("error").await;
        assert_eq!((&error["code"], &error["id"]), (&json!("user_busy"), &json!("c")), "{error}");
    }
    assert_eq!(city.standin.total(), 1, "the second answer waits for the first");
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
async fn what_a_dead_core_leaves_is_answered_by_another() {
    let mut city = Plan::default().start().await;
    // It dies before the first word of one answer, and in the middle of another.
    let (mut waiting, of_waiting) = city.arrive(0).await;
    let _nothing = city.standin.push_held(Answer::text("nunca"), 0);
    waiting.say("w", "¿estás?").await;
    waiting.frame_of("accepted").await;
    within(LIMIT, city.standin.wait_for(|calls| calls.len() == 1)).await.unwrap().unwrap();
    let (mut reading, of_reading) = city.arrive(0).await;
    let _half = city.standin.push_held(Answer::pieces(["A ", "medias"]), 1);
    reading.say("r", "contame").await;
    assert_eq!(reading.frame_of("delta").await["text"], "A ");
    // Both have come to the other core meanwhile, and sent again what they heard nothing about.
    let (mut waiting, _) = city.resume(1, &of_waiting, 0).await;
    waiting.say("w", "¿estás?").await;
    assert_eq!(waiting.frame_of("accepted").await["seq"], 1);
    let (mut reading, _) = city.resume(1, &of_reading, 0).await;
    assert_eq!(reading.frame_of("delta").await["text"], "A ");

    city.cores[0].kill().await;
    assert_eq!(answer(&mut waiting).await.0, "eco: ¿estás?");
    // What was read is not taken back silently: it has to be asked for.
    let error = reading.frame_of("error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("unavailable"), &json!("r")), "{error}");
    let again = reading.ask("r", "contame").await;
    assert_eq!((again.accepted["seq"].as_u64(), again.text.as_str()), (Some(1), "eco: contame"));
}
