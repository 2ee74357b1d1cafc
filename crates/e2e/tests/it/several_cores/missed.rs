//! What happens on one core while Redis is away, and what becomes of it on the other.

use serde_json::{Value, json};
use testkit::watchdog::{LIMIT, within};

use super::city::{City, LINKED, NOT_LINKED, Plan, Visitor};

async fn without_redis(city: &mut City) {
    city.redis.kill().await.unwrap();
    for core in &city.cores {
        core.wait_for(NOT_LINKED).await;
    }
}

async fn with_redis_again(city: &mut City) {
    city.redis.start().await.unwrap();
    for core in &city.cores {
        core.wait_for_times(2, LINKED).await;
    }
}

async fn request(visitor: &mut Visitor, method: &str, params: Value) -> Value {
    visitor.send(json!({"type": "request", "id": "r", "method": method, "params": params})).await;
    visitor.frame_of("response").await["result"].take()
}

/// A few things that are stored where the other core does not hear of it.
const SAID: [(&str, &str); 2] = [("c", "¿estás?"), ("d", "te cuento")];

#[tokio::test]
async fn a_resume_finds_what_the_live_session_has_missed() {
    let mut city = Plan::default().start().await;
    let (mut first, welcome) = city.arrive(0).await;
    first.ask("a", "hola").await;
    without_redis(&mut city).await;
    let (mut second, _) = city.resume(1, &welcome, 2).await;
    for (id, text) in SAID {
        second.ask(id, text).await;
    }
    // From the core that knows all of it to the one where the session lives and knows less.
    let (mut third, again) = city.resume(0, &welcome, 0).await;
    assert_eq!(again["seq"], 6, "{again}");
    for (seq, visitor) in [(1, &mut third), (3, &mut first)] {
        for seq in seq..=6_u64 {
            let frame = visitor.frame().await;
            assert_eq!((&frame["type"], frame["seq"].as_u64()), (&json!("turn"), Some(seq)), "{frame}");
        }
    }
    // Nothing of it comes twice.
    assert_eq!(first.ask("e", "sigo acá").await.accepted["seq"], 7);
    let frame = third.frame().await;
    assert_eq!((&frame["type"], &frame["seq"]), (&json!("turn"), &json!(7)), "{frame}");
}

#[tokio::test]
async fn a_session_erased_elsewhere_ends_here_too() {
    let mut city = Plan::default().start().await;
    let mut devices = Vec::new();
    for _ in 0..3 {
        let (mut device, welcome) = city.arrive(0).await;
        device.ask("a", "hola").await;
        devices.push((device, welcome));
    }
    without_redis(&mut city).await;
    for (_, welcome) in &devices {
        let (mut other, _) = city.resume(1, welcome, 0).await;
        let erased = request(&mut other, "erase", json!({"confirm": welcome["session"]})).await;
        assert_eq!(erased, json!({"erased": 2}));
    }
    let (mut silent, _) = devices.pop().unwrap();
    let (mut erasing, welcome) = devices.pop().unwrap();
    let (mut talking, _) = devices.pop().unwrap();
    // Before anybody could say so: a message finds out, and so does another erase.
    talking.say("b", "¿estás?").await;
    assert_eq!(talking.read().await, None);
    let erased = request(&mut erasing, "erase", json!({"confirm": welcome["session"]})).await;
    assert_eq!(erased, json!({"erased": 0}));
    // And who says nothing hears of it with Redis.
    with_redis_again(&mut city).await;
    assert_eq!(silent.read().await, None);
}

#[tokio::test]
async fn a_language_chosen_elsewhere_is_spoken_here_too() {
    let mut city = Plan::default().start().await;
    let (mut first, welcome) = city.arrive(0).await;
    let (mut resumed, of_resumed) = city.arrive(0).await;
    without_redis(&mut city).await;
    for welcome in [&welcome, &of_resumed] {
        let (mut second, _) = city.resume(1, welcome, 0).await;
        request(&mut second, "set_locale", json!({"locale": "en"})).await;
    }
    let (_again, told) = city.resume(0, &of_resumed, 0).await;
    assert_eq!(told["locale"], "en", "{told}");
    assert_eq!(request(&mut resumed, "session", Value::Null).await["locale"], "en");
    with_redis_again(&mut city).await;
    let spoken = async { while request(&mut first, "session", Value::Null).await["locale"] != "en" {} };
    within(LIMIT, spoken).await.unwrap();
}
