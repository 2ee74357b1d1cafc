//! 500 clients chat while one process after another is killed and restarted.

use std::time::Duration;

use testkit::llm::Fallback;
use testkit::postgres::Stop;
use testkit::watchdog::within;

use super::cluster::{CORES, Plan};
use crate::durability::client_fleet::{connect_fleet, run_fleet_during, ws};
use crate::durability::flaky_proxy::FlakyProxy;
use crate::durability::scripted_answers::scripted_answer;
use crate::durability::seeded_rng::seeded_rng;

const PEOPLE: usize = 500;
const GATEWAYS: usize = 3;
/// Concurrent model calls of all cores together.
const CALLS: usize = 40;
const ROUNDS: usize = 4;
/// Timeout for all clients to connect on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Upper bound of a client's pause between messages: together they send about 170 per second.
const THINKING: Duration = Duration::from_secs(6);

#[tokio::test]
async fn every_conversation_completes() {
    let mut rng = seeded_rng("killed_in_turn");
    let plan = Plan::default().gateways(GATEWAYS).fallback(Fallback::Reply(scripted_answer));
    let plan = plan.set("MAX_IN_FLIGHT", CALLS).set("RATE_MAX_MESSAGES", 1_000_000);
    // All clients share one address, reconnect often and queue for the model.
    let plan = plan.set("CONNECTS_PER_MINUTE_PER_ADDRESS", 1_000_000).set("MAX_CONNECTIONS_PER_ADDRESS", 10_000);
    let mut cluster = plan.set("QUEUE_TIMEOUT_SECONDS", 600).start().await;
    let proxy = FlakyProxy::to(cluster.gateways.iter().map(|gateway| gateway.address())).await;
    let mut people = within(TIMEOUT, connect_fleet((0..PEOPLE).map(|_| ws(proxy.address())))).await.unwrap();
    for person in &mut people {
        person.expect_several_cores();
        person.think(THINKING);
    }
    let city_now = &mut cluster;
    run_fleet_during(&mut people, async |pulse| {
        for _ in 0..ROUNDS {
            for victim in 0..CORES + GATEWAYS {
                pulse.random_moment(&mut rng).await;
                let program = match victim.checked_sub(CORES) {
                    None => &mut city_now.cores[victim],
                    Some(gateway) => &mut city_now.gateways[gateway],
                };
                program.kill().await;
                program.restart().await;
            }
            pulse.random_moment(&mut rng).await;
            city_now.redis.kill().await.unwrap();
            pulse.random_moment(&mut rng).await;
            city_now.redis.start().await.unwrap();
            pulse.random_moment(&mut rng).await;
            city_now.postgres.with(|postgres| postgres.restart(Stop::Immediate).unwrap()).await;
        }
    })
    .await;
    let cut = people.iter().filter(|person| 0 < person.resumed).count();
    assert!(PEOPLE * 9 <= cut * 10, "only {cut} lost a connection");
    let most = cluster.standin.most_in_flight();
    assert!(most * 20 <= CALLS * 21, "{most} calls at once, of {CALLS}");
}
