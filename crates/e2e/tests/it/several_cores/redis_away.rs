//! Redis that goes and comes back: everyone is served meanwhile, and nobody has to do anything.

use serde_json::{Value, json};

use super::city::{City, LINKED, NOT_LINKED, Plan};
use crate::http;
use crate::metrics::Metrics;

#[tokio::test]
async fn each_core_goes_on_with_its_share_and_heals() {
    let plan = Plan::default().set("RATE_MAX_MESSAGES", 6).set("RATE_WINDOW_SECONDS", 3_600);
    let mut city = plan.set("RATE_ADDRESS_FACTOR", 1_000).start().await;
    let (mut first, welcome) = city.arrive(0).await;
    let (mut second, _) = city.resume(1, &welcome, 0).await;
    city.redis.kill().await.unwrap();
    for core in &city.cores {
        core.wait_for(NOT_LINKED).await;
    }
    is_degraded(&city).await;
    // Half of six, here. The other device cannot be told.
    for number in 1..=3 {
        let reply = first.ask(&format!("a{number}"), "hola").await;
        assert_eq!(reply.text, "eco: hola");
    }
    first.say("a4", "hola").await;
    let error = first.frame_of("error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("rate_limited"), &json!("a4")));

    city.redis.start().await.unwrap();
    for core in &city.cores {
        core.wait_for_times(2, LINKED).await;
    }
    for core in &city.cores {
        let (_, body) = http::get(core.admin(), "/readyz").await.unwrap();
        assert!(body.contains("\"ready\""), "{body}");
        let metrics = Metrics::of(core).await;
        assert!(
            metrics.get("psicoia_core_redis_up") == 1.0 && 1.0 <= metrics.get("psicoia_core_redis_disconnects_total")
        );
    }
    // What it has missed it gets now, in order, once.
    for seq in 1..=6_u64 {
        let frame = second.frame().await;
        assert_eq!((&frame["type"], frame["seq"].as_u64()), (&json!("turn"), Some(seq)), "{frame}");
    }
    // And the limit is one again: three more of six.
    let mut accepted = Vec::new();
    for number in 1..=4 {
        second.say(&format!("b{number}"), "hola").await;
        accepted.push(loop {
            let frame = second.frame().await;
            match frame["type"].as_str() {
                Some("done") => break true,
                Some("error") => break false,
                _ => {}
            }
        });
    }
    assert_eq!(accepted, [true, true, true, false]);
    let heard: Vec<Value> = {
        let mut heard = Vec::new();
        while heard.len() < 3 {
            heard.push(first.frame_of("done").await["seq"].take());
        }
        heard
    };
    assert_eq!(heard, [8, 10, 12]);
}

/// Every core says so where those look who run it.
async fn is_degraded(city: &City) {
    for core in &city.cores {
        let (status, body) = http::get(core.admin(), "/readyz").await.unwrap();
        let told: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &told["status"]), (200, &json!("degraded")), "{told}");
        let redis = told["checks"].as_array().unwrap().iter().find(|check| check["name"] == "redis").unwrap();
        assert!(redis["reason"].as_str().unwrap().contains("1 of 2"), "{redis}");
        Metrics::of(core).await.assert(&[("psicoia_core_redis_up", 0.0), ("psicoia_core_cluster_members", 2.0)]);
    }
}
