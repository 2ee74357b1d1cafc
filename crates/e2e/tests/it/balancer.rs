//! Three gateways behind HAProxy, one core: people are spread, and come back when something dies.

mod draining;
mod flood;
mod haproxy;
mod traveller;

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};
use serde_json::Value;
use testkit::llm::{Answer, Fallback};
use testkit::peer::ConnectionEnd;

use crate::http;
use crate::town::{Plan, Town};
use haproxy::Haproxy;
use traveller::Traveller;

const PEOPLE: u8 = 30;
/// The first of them lives at 127.0.0.10.
const FIRST_HOME: u8 = 10;

async fn balanced(plan: Plan) -> (Town, Haproxy) {
    let town = plan.gateways(3).start().await;
    let gateways: Vec<_> = town.gateways.iter().map(|gateway| gateway.address()).collect();
    let haproxy = Haproxy::start(&town.room("haproxy"), &gateways, &[]).await;
    (town, haproxy)
}

async fn people(haproxy: &Haproxy) -> Vec<Traveller> {
    join_all((0..PEOPLE).map(|number| Traveller::arrive(FIRST_HOME + number, haproxy.address()))).await
}

/// The `client.address` of every connection in a log.
fn addresses(logs: &[String]) -> Vec<String> {
    let lines = logs.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let opened = lines.filter(|line| line["message"] == "connection opened");
    opened.map(|line| line["client.address"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn everyone_is_answered_through_some_gateway() {
    let (mut town, haproxy) = balanced(Plan::default()).await;
    let mut people = people(&haproxy).await;
    let in_browsers = join_all(people.iter_mut().map(async |person| {
        for number in 1..=3 {
            let [.., house] = person.home().octets();
            let text = format!("mensaje {number} de la casa {house}");
            assert_eq!(person.ask(&format!("m{number}"), &text).await, format!("eco: {text}"));
        }
        assert_eq!((person.lost, person.export().await), (0, person.held.clone()));
    }));
    let native = join_all((0..10).map(async |client| {
        let mut person = town.at_core().await;
        person.hello().await;
        for number in 1..=3 {
            let text = format!("mensaje {number} del programa {client}");
            assert_eq!(person.ask(&format!("m{number}"), &text).await.text, format!("eco: {text}"));
        }
    }));
    join(in_browsers, native).await;

    let homes: BTreeSet<String> = people.iter().map(|person| person.home().to_string()).collect();
    drop(people);
    // Only then are their logs whole.
    for gateway in &mut town.gateways {
        gateway.terminate().await;
    }
    town.core.terminate().await;
    let carried: Vec<Vec<String>> = town.gateways.iter().map(|gateway| addresses(&gateway.logs())).collect();
    for addresses in &carried {
        assert!(5 <= addresses.len(), "{carried:?}");
    }
    assert_eq!(carried.concat().into_iter().collect::<BTreeSet<_>>(), homes);
    // Through two proxies, the core knows where each of them is.
    let known: BTreeSet<String> = addresses(&town.core.logs()).into_iter().collect();
    assert!(homes.is_subset(&known), "{known:?}");
}

#[tokio::test]
async fn a_gateway_dies_and_then_the_core() {
    let story = Answer::chunks(30).paced(0, 20);
    let answer = story.pieces.concat();
    let plan = Plan::default().core("MAX_IN_FLIGHT", 100).fallback(Fallback::Answer(story));
    let (mut town, haproxy) = balanced(plan).await;
    let mut people = people(&haproxy).await;

    let Town { standin, gateways, .. } = &mut town;
    let talk = join_all(people.iter_mut().map(async |person| {
        for number in 1..=3 {
            let [.., house] = person.home().octets();
            let text = format!("mensaje {number} de la casa {house}");
            assert_eq!(person.ask(&format!("m{number}"), &text).await, answer);
        }
        let all: Vec<u64> = (1..=6).collect();
        assert_eq!(person.held.keys().copied().collect::<Vec<_>>(), all);
        assert_eq!(person.export().await, person.held);
    }));
    let murder = async {
        // In the middle of the second answers.
        standin.wait_for(|requests| 45 <= requests.len()).await.unwrap();
        gateways[1].kill().await;
    };
    join(talk, murder).await;
    let lost: usize = people.iter().map(|person| person.lost).sum();
    assert!(5 <= lost, "{lost} were on the gateway that died");
    // Not one answer was generated twice.
    assert_eq!(town.standin.total(), 3 * u64::from(PEOPLE));

    the_core_dies(&mut town, &haproxy, &mut people).await;
    join_all(people.iter_mut().map(async |person| {
        let back = person.come_back().await;
        assert_eq!(
            (&back["type"], &back["resumed"], &back["seq"]),
            (&"welcome".into(), &true.into(), &6.into()),
            "{back}"
        );
        assert_eq!(person.ask("m4", "¿Seguís ahí?").await, answer);
        assert_eq!((person.held.len(), person.export().await), (8, person.held.clone()));
    }))
    .await;
}

/// Kills the core and starts it again.
async fn the_core_dies(town: &mut Town, haproxy: &Haproxy, people: &mut [Traveller]) {
    let alive = [0, 2].map(|number: usize| town.gateways[number].address());
    town.core.kill().await;
    let endings = join_all(people.iter_mut().map(Traveller::ending)).await;
    assert!(endings.iter().all(|ending| *ending == ConnectionEnd::WebSocket(1012)), "{endings:?}");
    for gateway in alive {
        http::until_status(gateway, "/readyz", 503).await;
        assert_eq!(http::status(gateway, "/healthz", "").await.unwrap(), 200);
    }
    http::until_status(haproxy.address(), "/balancer/health", 503).await;
    town.core.restart().await;
    for gateway in alive {
        http::until_status(gateway, "/readyz", 200).await;
    }
    http::until_status(haproxy.address(), "/balancer/health", 200).await;
}
