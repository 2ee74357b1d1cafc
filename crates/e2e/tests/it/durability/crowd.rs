//! Many who talk while something is done to the services.

use std::net::SocketAddr;
use std::time::Duration;

use client::Address;
use fastrand::Rng;
use futures_util::future::{join, join_all};
use testkit::llm::Fallback;
use testkit::watchdog::{LIMIT, within};
use tokio::sync::watch;
use tokio::time::sleep;

use super::recital::recite;
use super::talker::Talker;
use crate::town::Plan;

pub(crate) const PEOPLE: usize = 20;
/// How long a crowd may take to get the rest of its answers, and to compare.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages accepted between two blows, at most.
const MOST_MESSAGES: usize = 12;
/// Microseconds between such a message and the blow, at most: longer than an answer takes.
const MOST_MICROS: u64 = 40_000;

/// A town in which nobody talks too much.
pub(crate) fn plan() -> Plan {
    Plan::default()
        .core("RATE_MAX_MESSAGES", 1_000_000)
        .core("MAX_IN_FLIGHT", 100)
        // They all come from one address, again and again.
        .both("CONNECTS_PER_MINUTE_PER_ADDRESS", "1000000")
        .fallback(Fallback::Reply(recite))
}

pub(crate) fn tcp(address: SocketAddr) -> Address {
    format!("tcp://{address}").parse().unwrap()
}

pub(crate) fn ws(address: SocketAddr) -> Address {
    format!("ws://{address}/ws").parse().unwrap()
}

/// What a crowd is told to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    /// Which round it is; some compare their ledger in each.
    pub(crate) round: usize,
    /// Say nothing new.
    pub(crate) over: bool,
}

/// Someone at each address.
pub(crate) async fn gather(addresses: impl IntoIterator<Item = Address>) -> Vec<Talker> {
    join_all((0..).zip(addresses).map(|(number, address)| Talker::arrive(number, address))).await
}

/// What whoever does harm sees of the crowd.
pub(crate) struct Pulse {
    orders: watch::Sender<Orders>,
    accepted: watch::Receiver<usize>,
}

impl Pulse {
    /// Waits for a random moment of the talk: so many messages further, and then some.
    pub(crate) async fn random_moment(&mut self, chance: &mut Rng) {
        self.orders.send_modify(|orders| orders.round += 1);
        let until = *self.accepted.borrow_and_update() + chance.usize(1..=MOST_MESSAGES);
        let further = within(LIMIT, self.accepted.wait_for(|accepted| until <= *accepted)).await;
        drop(further.expect("the talk has stopped").unwrap());
        // The moment itself is what is random here, not a guess at how long something takes.
        sleep(Duration::from_micros(chance.u64(0..MOST_MICROS))).await;
    }
}

/// Lets everyone talk while `havoc` is done; afterwards everyone has every answer, and the
/// ledgers are right.
pub(crate) async fn talk_while(people: &mut [Talker], havoc: impl AsyncFnOnce(&mut Pulse)) {
    let orders = watch::Sender::new(Orders::default());
    let (count, accepted) = watch::channel(0);
    let heard = orders.subscribe();
    let mut pulse = Pulse { orders, accepted };
    let talk = join_all(people.iter_mut().map(|person| person.talk(heard.clone(), &count)));
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
        within(PATIENCE, talk).await.is_ok()
    };
    let (all_answered, ()) = join(talk, havoc).await;
    let open: Vec<_> = people.iter().filter(|person| 0 < person.open()).map(Talker::report).collect();
    assert!(all_answered, "{} people have no answer:\n{}", open.len(), open.first().map_or("", String::as_str));
    for person in people {
        within(PATIENCE, person.settle()).await.unwrap();
    }
}
