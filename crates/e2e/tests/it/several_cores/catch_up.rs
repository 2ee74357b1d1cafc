//! Changes made on one core during a Redis outage reach the other core.

use serde_json::{Value, json};
use testkit::watchdog::{LIMIT, within};

use super::cluster::{Cluster, ClusterClient, Plan, REDIS_CONNECTED, REDIS_LOST};

async fn without_redis(cluster: &mut Cluster) {
    cluster.redis.kill().await.unwrap();
    for core in &cluster.cores {
        core.wait_for(REDIS_LOST).await;
    }
}

async fn with_redis_again(cluster: &mut Cluster) {
    cluster.redis.start().await.unwrap();
    for core in &cluster.cores {
        core.wait_for_times(2, REDIS_CONNECTED).await;
    }
}

async fn request(client: &mut ClusterClient, method: &str, params: Value) -> Value {
    client.send(json!({"type": "request", "id": "r", "method": method, "params": params})).await;
    client.frame_of("response").await["result"].take()
}

/// Stores entries that the other core gets no events for.
const SAID: [(&str, &str); 2] = [("c", "¿estás?"), ("d", "te cuento")];

#[tokio::test]
async fn resume_delivers_entries_missed_by_the_live_session() {
    let mut cluster = Plan::default().start().await;
    let (mut first, welcome) = cluster.arrive(0).await;
    first.ask("a", "hola").await;
    without_redis(&mut cluster).await;
    let (mut second, _) = cluster.resume(1, &welcome, 2).await;
    for (id, text) in SAID {
        second.ask(id, text).await;
    }
    // Resume on the core whose live session lacks the entries.
    let (mut third, again) = cluster.resume(0, &welcome, 0).await;
    assert_eq!(again["seq"], 6, "{again}");
    for (seq, client) in [(1, &mut third), (3, &mut first)] {
        for seq in seq..=6_u64 {
            let frame = client.frame().await;
            assert_eq!((&frame["type"], frame["seq"].as_u64()), (&json!("turn"), Some(seq)), "{frame}");
        }
    }
    // No entry is delivered twice.
    assert_eq!(first.ask("e", "sigo acá").await.accepted["seq"], 7);
    let frame = third.frame().await;
    assert_eq!((&frame["type"], &frame["seq"]), (&json!("turn"), &json!(7)), "{frame}");
}

#[tokio::test]
async fn session_erased_on_one_core_ends_on_the_other() {
    let mut cluster = Plan::default().start().await;
    let mut devices = Vec::new();
    for _ in 0..3 {
        let (mut device, welcome) = cluster.arrive(0).await;
        device.ask("a", "hola").await;
        devices.push((device, welcome));
    }
    without_redis(&mut cluster).await;
    for (_, welcome) in &devices {
        let (mut other, _) = cluster.resume(1, welcome, 0).await;
        let erased = request(&mut other, "erase", json!({"confirm": welcome["session"]})).await;
        assert_eq!(erased, json!({"erased": 2}));
    }
    let (mut silent, _) = devices.pop().unwrap();
    let (mut erasing, welcome) = devices.pop().unwrap();
    let (mut talking, _) = devices.pop().unwrap();
    // Before any event arrives, a message or another erase finds the session erased.
    talking.say("b", "¿estás?").await;
    assert_eq!(talking.read().await, None);
    let erased = request(&mut erasing, "erase", json!({"confirm": welcome["session"]})).await;
    assert_eq!(erased, json!({"erased": 0}));
    // An idle connection is closed once Redis is back.
    with_redis_again(&mut cluster).await;
    assert_eq!(silent.read().await, None);
}

#[tokio::test]
async fn locale_set_on_one_core_applies_on_the_other() {
    let mut cluster = Plan::default().start().await;
    let (mut first, welcome) = cluster.arrive(0).await;
    let (mut resumed, of_resumed) = cluster.arrive(0).await;
    without_redis(&mut cluster).await;
    for welcome in [&welcome, &of_resumed] {
        let (mut second, _) = cluster.resume(1, welcome, 0).await;
        request(&mut second, "set_locale", json!({"locale": "en"})).await;
    }
    let (_again, received) = cluster.resume(0, &of_resumed, 0).await;
    assert_eq!(received["locale"], "en", "{received}");
    assert_eq!(request(&mut resumed, "session", Value::Null).await["locale"], "en");
    with_redis_again(&mut cluster).await;
    let spoken = async { while request(&mut first, "session", Value::Null).await["locale"] != "en" {} };
    within(LIMIT, spoken).await.unwrap();
}
