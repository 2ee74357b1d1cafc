//! The tokens of a day (`LLM_TOKENS_PER_DAY`), counted by all cores together.

use protocol::UserText;
use serde_json::{Value, json};
use testkit::llm::{Answer, Fallback};
use testkit::watchdog::{LIMIT, within};

use super::city::{City, LINKED, NOT_LINKED, Plan};
use crate::http::{self, LOOK_AGAIN};
use crate::metrics::Metrics;

/// What the provider counts of every call.
const COST: u64 = 100;

/// A city with so many calls a day.
async fn city(calls: u64) -> City {
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

impl City {
    /// Somebody new says something harmless at a core. Returns where the answer comes from.
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
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            });
            known.await.unwrap();
        }
    }

    /// Waits until a core says that nothing is left.
    async fn is_used_up(&self, core: usize) {
        let used_up = within(LIMIT, async {
            while !http::get(self.cores[core].admin(), "/readyz")
                .await
                .unwrap()
                .1
                .contains("LLM_TOKENS_PER_DAY is used up")
            {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        });
        used_up.await.unwrap();
    }
}

#[tokio::test]
async fn the_tokens_of_a_day_are_those_of_all_cores() {
    let city = city(4).await;
    for core in [0, 0] {
        assert_eq!(city.source_at(core).await, "llm");
    }
    city.know(2).await;
    for core in [1, 1] {
        assert_eq!(city.source_at(core).await, "llm");
    }
    city.know(4).await;
    for core in [0, 1] {
        city.is_used_up(core).await;
        // Nobody is refused: the companion answers.
        assert_eq!(city.source_at(core).await, "companion");
        let (mut person, _) = city.arrive(core).await;
        person.say("a", "me quiero morir").await;
        let help = person.frame().await;
        assert_eq!((&help["type"], &help["level"]), (&json!("support"), &json!("high")), "{help}");
        assert!(!help["resources"].as_array().unwrap().is_empty(), "{help}");
        let done = person.frame_of("done").await;
        assert_eq!((&done["source"], &done["finish"]), (&json!("companion"), &json!("stop")), "{done}");
    }
    assert_eq!(city.standin.total(), 4);
}

#[tokio::test]
async fn without_redis_each_core_has_its_part_of_what_is_left() {
    let mut city = city(10).await;
    for core in [0, 1] {
        assert_eq!(city.source_at(core).await, "llm");
    }
    city.know(2).await;
    city.redis.kill().await.unwrap();
    for core in &city.cores {
        core.wait_for(NOT_LINKED).await;
    }
    for core in [0, 1] {
        // Half of the eight that are left.
        for number in 1..=4 {
            assert_eq!(city.source_at(core).await, "llm", "{number} at {core}");
        }
        city.is_used_up(core).await;
        assert_eq!(city.source_at(core).await, "companion");
    }
    assert_eq!(city.standin.total(), 10);

    // One that has forgotten everything is told again.
    city.redis.start().await.unwrap();
    for core in &city.cores {
        core.wait_for_times(2, LINKED).await;
    }
    city.know(10).await;
    for core in [0, 1] {
        assert_eq!(city.source_at(core).await, "companion");
    }
    assert_eq!(city.standin.total(), 10);
}
