//! `kill -9` of gateways: nobody needs the one they came through.

use testkit::watchdog::{LIMIT, within};

use super::chance::chance;
use super::crowd::{PEOPLE, gather, plan, talk_while, ws};
use super::road::Road;

const ROUNDS: usize = 20;

#[tokio::test]
async fn a_gateway_takes_nothing_with_it() {
    let mut chance = chance("gateways_killed");
    let mut town = plan().gateways(2).start().await;
    let road = Road::to(town.gateways.iter().map(|gateway| gateway.address())).await;
    let addresses = (0..PEOPLE).map(|_| ws(road.address()));
    let mut people = within(LIMIT, gather(addresses)).await.unwrap();
    let gateways = &mut town.gateways;
    talk_while(&mut people, async |pulse| {
        for round in 0..ROUNDS {
            pulse.random_moment(&mut chance).await;
            // Every fifth time both.
            let victims = if round % 5 == 4 {
                gateways.iter_mut().collect()
            } else {
                vec![chance.choice(gateways.iter_mut()).unwrap()]
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
