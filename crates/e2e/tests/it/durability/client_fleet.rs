//! Fleet of clients that chat while services fail.

use std::net::SocketAddr;
use std::time::Duration;

use client::Address;
use fastrand::Rng;
use futures_util::future::{join, join_all};
use testkit::llm::Fallback;
use testkit::watchdog::{LIMIT, within};
use tokio::sync::watch;
use tokio::time::sleep;

use super::chaos_client::ChaosClient;
use super::scripted_answers::scripted_answer;
use crate::single_node::Plan;

pub(crate) const PEOPLE: usize = 20;
/// Timeout for the remaining answers and the final comparison.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Upper bound of messages accepted between two faults.
const MAX_MESSAGES: usize = 12;
/// Upper bound of microseconds from such a message to the fault: longer than an answer takes.
const MAX_MICROS: u64 = 40_000;

/// Plan of a node without rate limits.
pub(crate) fn plan() -> Plan {
    Plan::default()
        .core("RATE_MAX_MESSAGES", 1_000_000)
        .core("MAX_IN_FLIGHT", 100)
        // All clients share one address and reconnect often.
        .both("CONNECTS_PER_MINUTE_PER_ADDRESS", "1000000")
        .fallback(Fallback::Reply(scripted_answer))
}

pub(crate) fn tcp(address: SocketAddr) -> Address {
    format!("tcp://{address}").parse().unwrap()
}

pub(crate) fn ws(address: SocketAddr) -> Address {
    format!("ws://{address}/ws").parse().unwrap()
}

/// Command to all clients of the fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FleetCommand {
    /// Number of the round; some clients compare their ledger in each.
    pub(crate) round: usize,
    /// Send no new messages.
    pub(crate) over: bool,
}

/// Connects one client per address.
pub(crate) async fn connect_fleet(addresses: impl IntoIterator<Item = Address>) -> Vec<ChaosClient> {
    join_all((0..).zip(addresses).map(|(number, address)| ChaosClient::arrive(number, address))).await
}

/// Handle of the fleet for the fault injector.
pub(crate) struct FleetHandle {
    orders: watch::Sender<FleetCommand>,
    accepted: watch::Receiver<usize>,
}

impl FleetHandle {
    /// Waits for a random moment: a number of accepted messages, then a random delay.
    pub(crate) async fn random_moment(&mut self, rng: &mut Rng) {
        self.orders.send_modify(|orders| orders.round += 1);
        let until = *self.accepted.borrow_and_update() + rng.usize(1..=MAX_MESSAGES);
        let further = within(LIMIT, self.accepted.wait_for(|accepted| until <= *accepted)).await;
        drop(further.expect("the talk has stopped").unwrap());
        // The sleep randomizes the moment; it does not wait for anything.
        sleep(Duration::from_micros(rng.u64(0..MAX_MICROS))).await;
    }
}

/// Runs the fleet during `havoc`; then asserts that every message is answered and every ledger
/// matches the store.
pub(crate) async fn run_fleet_during(people: &mut [ChaosClient], havoc: impl AsyncFnOnce(&mut FleetHandle)) {
    let orders = watch::Sender::new(FleetCommand::default());
    let (count, accepted) = watch::channel(0);
    let commands = orders.subscribe();
    let mut pulse = FleetHandle { orders, accepted };
    let talk = join_all(people.iter_mut().map(|person| person.talk(commands.clone(), &count)));
    let (over, is_over) = watch::channel(false);
    let havoc = async {
        havoc(&mut pulse).await;
        pulse.orders.send_modify(|orders| orders.over = true);
        over.send_replace(true);
    };
    let talk = async {
        tokio::pin!(talk);
        let mut is_over = is_over;
        tokio::select! {
            _ = &mut talk => return true,
            _ = is_over.wait_for(|over| *over) => {}
        }
        within(TIMEOUT, talk).await.is_ok()
    };
    let (all_answered, ()) = join(talk, havoc).await;
    let open: Vec<_> = people.iter().filter(|person| 0 < person.open()).map(ChaosClient::report).collect();
    assert!(all_answered, "{} people have no answer:\n{}", open.len(), open.first().map_or("", String::as_str));
    for person in people {
        within(TIMEOUT, person.settle()).await.unwrap();
    }
}
