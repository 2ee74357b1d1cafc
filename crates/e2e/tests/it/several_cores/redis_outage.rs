//! Redis outage: service continues and recovers without intervention.

use serde_json::{Value, json};

use super::cluster::{Cluster, Plan, REDIS_CONNECTED, REDIS_LOST};
use crate::http;
use crate::metrics::Metrics;

#[tokio::test]
async fn enforces_per_core_share_and_recovers() {
    let plan = Plan::default().set("RATE_MAX_MESSAGES", 6).set("RATE_WINDOW_SECONDS", 3_600);
    let mut cluster = plan.set("RATE_ADDRESS_FACTOR", 1_000).start().await;
    let (mut first, welcome) = cluster.arrive(0).await;
    let (mut second, _) = cluster.resume(1, &welcome, 0).await;
    cluster.redis.kill().await.unwrap();
    for core in &cluster.cores {
        core.wait_for(REDIS_LOST).await;
    }
    is_degraded(&cluster).await;
    // Half of six on this core. The other device gets no event.
    for number in 1..=3 {
        let reply = first.ask(&format!("a{number}"), "hola").await;
        assert_eq!(reply.text, "eco: hola");
    }
    first.say("a4", "hola").await;
    let error = first.frame_of("error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("rate_limited"), &json!("a4")));

    cluster.redis.start().await.unwrap();
    for core in &cluster.cores {
        core.wait_for_times(2, REDIS_CONNECTED).await;
    }
    for core in &cluster.cores {
        let (_, body) = http::get(core.admin(), "/readyz").await.unwrap();
        assert!(body.contains("\"ready\""), "{body}");
        let metrics = Metrics::of(core).await;
        assert!(
            metrics.get("psicoia_core_redis_up") == 1.0 && 1.0 <= metrics.get("psicoia_core_redis_disconnects_total")
        );
    }
    // It catches up: missed entries in order, once.
    for seq in 1..=6_u64 {
        let frame = second.frame().await;
        assert_eq!((&frame["type"], frame["seq"].as_u64()), (&json!("turn"), Some(seq)), "{frame}");
    }
    // The limit is shared again: three more of six.
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
    let received: Vec<Value> = {
        let mut received = Vec::new();
        while received.len() < 3 {
            received.push(first.frame_of("done").await["seq"].take());
        }
        received
    };
    assert_eq!(received, [8, 10, 12]);
}

/// Asserts that every core's readiness reports the outage.
async fn is_degraded(cluster: &Cluster) {
    for core in &cluster.cores {
        let (status, body) = http::get(core.admin(), "/readyz").await.unwrap();
        let received: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &received["status"]), (200, &json!("degraded")), "{received}");
        let redis = received["checks"].as_array().unwrap().iter().find(|check| check["name"] == "redis").unwrap();
        assert!(redis["reason"].as_str().unwrap().contains("1 of 2"), "{redis}");
        Metrics::of(core).await.assert(&[("psicoia_core_redis_up", 0.0), ("psicoia_core_cluster_members", 2.0)]);
    }
}
