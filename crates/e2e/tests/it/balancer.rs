//! Three gateways behind HAProxy and one core: load balancing and recovery.

mod draining;
mod flood;
pub(crate) mod haproxy;
mod lines;
mod roaming_client;

use std::collections::BTreeSet;

use futures_util::future::{join, join_all};
use serde_json::Value;
use testkit::llm::{Answer, Fallback};
use testkit::peer::ConnectionEnd;

use crate::http;
use crate::single_node::{Plan, SingleNode};
use haproxy::Haproxy;
use roaming_client::RoamingClient;

const PEOPLE: u8 = 30;
/// Clients have addresses from 127.0.0.10 on.
const FIRST_HOME: u8 = 10;

async fn balanced(plan: Plan) -> (SingleNode, Haproxy) {
    let node = plan.gateways(3).start().await;
    let gateways: Vec<_> = node.gateways.iter().map(|gateway| gateway.address()).collect();
    let haproxy = Haproxy::start(&node.subfolder("haproxy"), &gateways, &[]).await;
    (node, haproxy)
}

async fn people(haproxy: &Haproxy) -> Vec<RoamingClient> {
    join_all((0..PEOPLE).map(|number| RoamingClient::arrive(FIRST_HOME + number, haproxy.address()))).await
}

/// `client.address` of every connection in a log.
fn addresses(logs: &[String]) -> Vec<String> {
    let lines = logs.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let opened = lines.filter(|line| line["message"] == "connection opened");
    opened.map(|line| line["client.address"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn all_clients_are_answered_through_the_balancer() {
    let (mut node, haproxy) = balanced(Plan::default()).await;
    let mut people = people(&haproxy).await;
    let in_browsers = join_all(people.iter_mut().map(async |person| {
        for number in 1..=3 {
            let [.., home] = person.home().octets();
            let text = format!("mensaje {number} de la casa {home}");
            assert_eq!(person.ask(&format!("m{number}"), &text).await, format!("eco: {text}"));
        }
        assert_eq!((person.lost, person.export().await), (0, person.held.clone()));
    }));
    let native = join_all((0..10).map(async |client| {
        let mut person = node.at_core().await;
        person.hello().await;
        for number in 1..=3 {
            let text = format!("mensaje {number} del programa {client}");
            assert_eq!(person.ask(&format!("m{number}"), &text).await.text, format!("eco: {text}"));
        }
    }));
    join(in_browsers, native).await;

    let homes: BTreeSet<String> = people.iter().map(|person| person.home().to_string()).collect();
    drop(people);
    // Logs are complete only after the exit.
    for gateway in &mut node.gateways {
        gateway.terminate().await;
    }
    node.core.terminate().await;
    let carried: Vec<Vec<String>> = node.gateways.iter().map(|gateway| addresses(&gateway.logs())).collect();
    for addresses in &carried {
        assert!(5 <= addresses.len(), "{carried:?}");
    }
    assert_eq!(carried.concat().into_iter().collect::<BTreeSet<_>>(), homes);
    // The core knows every client's address through two proxies.
    let known: BTreeSet<String> = addresses(&node.core.logs()).into_iter().collect();
    assert!(homes.is_subset(&known), "{known:?}");
}

#[tokio::test]
async fn survives_a_gateway_and_then_the_core_dying() {
    let story = Answer::chunks(30).paced(0, 20);
    let answer = story.pieces.concat();
    let plan = Plan::default().core("MAX_IN_FLIGHT", 100).fallback(Fallback::Answer(story));
    let (mut node, haproxy) = balanced(plan).await;
    let mut people = people(&haproxy).await;

    let SingleNode { standin, gateways, .. } = &mut node;
    let talk = join_all(people.iter_mut().map(async |person| {
        for number in 1..=3 {
            let [.., home] = person.home().octets();
            let text = format!("mensaje {number} de la casa {home}");
            assert_eq!(person.ask(&format!("m{number}"), &text).await, answer);
        }
        let all: Vec<u64> = (1..=6).collect();
        assert_eq!(person.held.keys().copied().collect::<Vec<_>>(), all);
        assert_eq!(person.export().await, person.held);
    }));
    let murder = async {
        // During the second answers.
        standin.wait_for(|requests| 45 <= requests.len()).await.unwrap();
        gateways[1].kill().await;
    };
    join(talk, murder).await;
    let lost: usize = people.iter().map(|person| person.lost).sum();
    assert!(5 <= lost, "{lost} were on the gateway that died");
    // No answer was generated twice.
    assert_eq!(node.standin.total(), 3 * u64::from(PEOPLE));

    the_core_dies(&mut node, &haproxy, &mut people).await;
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

/// Kills and restarts the core.
async fn the_core_dies(node: &mut SingleNode, haproxy: &Haproxy, people: &mut [RoamingClient]) {
    let alive = [0, 2].map(|number: usize| node.gateways[number].address());
    node.core.kill().await;
    let endings = join_all(people.iter_mut().map(RoamingClient::ending)).await;
    assert!(endings.iter().all(|ending| *ending == ConnectionEnd::WebSocket(1012)), "{endings:?}");
    for gateway in alive {
        http::until_status(gateway, "/readyz", 503).await;
        assert_eq!(http::status(gateway, "/healthz", "").await.unwrap(), 200);
    }
    http::until_status(haproxy.address(), "/balancer/health", 503).await;
    node.core.restart().await;
    for gateway in alive {
        http::until_status(gateway, "/readyz", 200).await;
    }
    http::until_status(haproxy.address(), "/balancer/health", 200).await;
}
