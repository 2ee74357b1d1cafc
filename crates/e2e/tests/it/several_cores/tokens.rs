//! Daily token budget (`LLM_TOKENS_PER_DAY`), shared by all cores.

use protocol::UserText;
use serde_json::{Value, json};
use testkit::llm::{Answer, Fallback};
use testkit::watchdog::{LIMIT, within};

use super::cluster::{Cluster, Plan, REDIS_CONNECTED, REDIS_LOST};
use crate::http::{self, POLL_INTERVAL};
use crate::metrics::Metrics;

/// Tokens reported by the provider per call.
const COST: u64 = 100;

/// Starts a cluster with a budget of `calls` calls per day.
async fn cluster(calls: u64) -> Cluster {
    let event = |event: Value| format!("data: {event}\n\n");
    let text = json!({"choices": [{"index": 0, "delta": {"content": "acá estoy"}, "finish_reason": null}]});
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let usage =
        json!({"choices": [], "usage": {"prompt_tokens": COST - 4, "completion_tokens": 4, "total_tokens": COST}});
    let raw = [event(text), event(end), event(usage), "data: [DONE]\n\n".to_owned()].to_vec();
    let answer = Answer { raw, ..Answer::default() };
    let plan = Plan::default().set("LLM_TOKENS_PER_DAY", calls * COST).fallback(Fallback::Answer(answer));
    plan.start().await
}

impl Cluster {
    /// Sends a harmless message in a new session on a core; returns the answer's source.
    async fn source_at(&self, core: usize) -> String {
        let (mut person, _) = self.arrive(core).await;
        let reply = person.ask("a", "hoy cociné arroz").await;
        assert!(!UserText::new(reply.text).is_empty(), "{}", reply.done);
        reply.done["source"].as_str().unwrap().to_owned()
    }

    async fn know(&self, calls: u64) {
        for core in &self.cores {
            let known = within(LIMIT, async {
                #[expect(clippy::float_cmp, reason = "whole numbers")]
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                while Metrics::of(core).await.get("psicoia_core_model_tokens_today") != (calls * COST) as f64 {
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            });
            known.await.unwrap();
        }
    }

    /// Waits until a core reports an exhausted budget.
    async fn is_used_up(&self, core: usize) {
        let used_up = within(LIMIT, async {
            while !http::get(self.cores[core].admin(), "/readyz")
                .await
                .unwrap()
                .1
                .contains("LLM_TOKENS_PER_DAY is used up")
            {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
        used_up.await.unwrap();
    }
}

#[tokio::test]
async fn token_budget_is_shared_by_all_cores() {
    let cluster = cluster(4).await;
    for core in [0, 0] {
        assert_eq!(cluster.source_at(core).await, "llm");
    }
    cluster.know(2).await;
    for core in [1, 1] {
        assert_eq!(cluster.source_at(core).await, "llm");
    }
    cluster.know(4).await;
    for core in [0, 1] {
        cluster.is_used_up(core).await;
        // Not refused: the companion answers.
        assert_eq!(cluster.source_at(core).await, "companion");
        let (mut person, _) = cluster.arrive(core).await;
        person.say("a", "me quiero morir").await;
        let help = person.frame().await;
        assert_eq!((&help["type"], &help["level"]), (&json!("support"), &json!("high")), "{help}");
        assert!(!help["resources"].as_array().unwrap().is_empty(), "{help}");
        let done = person.frame_of("done").await;
        assert_eq!((&done["source"], &done["finish"]), (&json!("companion"), &json!("stop")), "{done}");
    }
    assert_eq!(cluster.standin.total(), 4);
}

#[tokio::test]
async fn token_budget_is_split_without_redis() {
    let mut cluster = cluster(10).await;
    for core in [0, 1] {
        assert_eq!(cluster.source_at(core).await, "llm");
    }
    cluster.know(2).await;
    cluster.redis.kill().await.unwrap();
    for core in &cluster.cores {
        core.wait_for(REDIS_LOST).await;
    }
    for core in [0, 1] {
        // Half of the remaining eight.
        for number in 1..=4 {
            assert_eq!(cluster.source_at(core).await, "llm", "{number} at {core}");
        }
        cluster.is_used_up(core).await;
        assert_eq!(cluster.source_at(core).await, "companion");
    }
    assert_eq!(cluster.standin.total(), 10);

    // An emptied Redis is filled again.
    cluster.redis.start().await.unwrap();
    for core in &cluster.cores {
        core.wait_for_times(2, REDIS_CONNECTED).await;
    }
    cluster.know(10).await;
    for core in [0, 1] {
        assert_eq!(cluster.source_at(core).await, "companion");
    }
    assert_eq!(cluster.standin.total(), 10);
}
