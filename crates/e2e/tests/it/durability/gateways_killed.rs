//! `kill -9` of gateways: clients continue through another one.

use testkit::watchdog::{LIMIT, within};

use super::client_fleet::{PEOPLE, connect_fleet, plan, run_fleet_during, ws};
use super::flaky_proxy::FlakyProxy;
use super::seeded_rng::seeded_rng;

const ROUNDS: usize = 20;

#[tokio::test]
async fn killed_gateways_lose_nothing() {
    let mut rng = seeded_rng("gateways_killed");
    let mut node = plan().gateways(2).start().await;
    let proxy = FlakyProxy::to(node.gateways.iter().map(|gateway| gateway.address())).await;
    let addresses = (0..PEOPLE).map(|_| ws(proxy.address()));
    let mut people = within(LIMIT, connect_fleet(addresses)).await.unwrap();
    let gateways = &mut node.gateways;
    run_fleet_during(&mut people, async |pulse| {
        for round in 0..ROUNDS {
            pulse.random_moment(&mut rng).await;
            // Both, every fifth round.
            let victims = if round % 5 == 4 {
                gateways.iter_mut().collect()
            } else {
                vec![rng.choice(gateways.iter_mut()).unwrap()]
            };
            for gateway in victims {
                gateway.kill().await;
                gateway.restart().await;
            }
        }
    })
    .await;
    for person in &people {
        assert!(ROUNDS / 5 <= person.resumed, "only {} resumes", person.resumed);
    }
}
