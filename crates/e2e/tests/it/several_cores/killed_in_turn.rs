//! Five hundred people talk while one process after another is killed and comes back.

use std::time::Duration;

use testkit::llm::Fallback;
use testkit::postgres::Stop;
use testkit::watchdog::within;

use super::city::{CORES, Plan};
use crate::durability::chance::chance;
use crate::durability::crowd::{gather, talk_while, ws};
use crate::durability::recital::recite;
use crate::durability::road::Road;

const PEOPLE: usize = 500;
const GATEWAYS: usize = 3;
/// Calls to the model at once, of all cores together.
const CALLS: usize = 40;
const ROUNDS: usize = 2;
/// How long all of them may take to arrive on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a person thinks, at most: all of them together send about 170 messages a second.
const THINKING: Duration = Duration::from_secs(6);

#[tokio::test]
async fn every_conversation_ends_well() {
    let mut chance = chance("killed_in_turn");
    let plan = Plan::default().gateways(GATEWAYS).fallback(Fallback::Reply(recite));
    let plan = plan.set("MAX_IN_FLIGHT", CALLS).set("RATE_MAX_MESSAGES", 1_000_000);
    // They all come from one address, again and again, and wait for each other.
    let plan = plan.set("CONNECTS_PER_MINUTE_PER_ADDRESS", 1_000_000).set("MAX_CONNECTIONS_PER_ADDRESS", 10_000);
    let mut city = plan.set("QUEUE_TIMEOUT_SECONDS", 600).start().await;
    let road = Road::to(city.gateways.iter().map(|gateway| gateway.address())).await;
    let mut people = within(PATIENCE, gather((0..PEOPLE).map(|_| ws(road.address())))).await.unwrap();
    for person in &mut people {
        person.expect_several_cores();
        person.think(THINKING);
    }
    let city_now = &mut city;
    talk_while(&mut people, async |pulse| {
        for _ in 0..ROUNDS {
            for victim in 0..CORES + GATEWAYS {
                pulse.random_moment(&mut chance).await;
                let program = match victim.checked_sub(CORES) {
                    None => &mut city_now.cores[victim],
                    Some(gateway) => &mut city_now.gateways[gateway],
                };
                program.kill().await;
                program.restart().await;
            }
            pulse.random_moment(&mut chance).await;
            city_now.redis.kill().await.unwrap();
            pulse.random_moment(&mut chance).await;
            city_now.redis.start().await.unwrap();
            pulse.random_moment(&mut chance).await;
            city_now.postgres.with(|postgres| postgres.restart(Stop::Immediate).unwrap()).await;
        }
    })
    .await;
    let cut = people.iter().filter(|person| 0 < person.resumed).count();
    assert!(PEOPLE * 9 <= cut * 10, "only {cut} lost a connection");
    let most = city.standin.most_in_flight();
    assert!(most * 20 <= CALLS * 21, "{most} calls at once, of {CALLS}");
}
