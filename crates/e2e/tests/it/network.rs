//! Bad networks, real ones: people in a namespace of their own, on a link to the services that is
//! slow, narrow, loses packets or is down for a while. They resume; nothing is lost or doubled.

mod guest;
mod net;
mod trouble;

use std::time::Duration;

use client::Address;
use futures_util::future::join_all;
use serde_json::Value;
use testkit::llm::{Answer, Fallback};
use testkit::watchdog::within;
use tokio::time::{Instant, sleep};

use crate::town::{Plan, Town};
use guest::Guest;
use net::Net;
use trouble::{DELAY, RATE_BITS, Road, Trouble};

/// Half of them come through the gateway, half straight to the core.
const PEOPLE: usize = 6;
const CUT: Duration = Duration::from_secs(10);
/// For everything that one person does. Longer than a client needs to notice a dead connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// Services at our end of `net`, for people who may talk as much as they like.
async fn town(net: &Net, plan: Plan) -> Town {
    let here = net.here().to_string();
    let plan = plan.core("APP_HOST", &here).core("TRUSTED_PROXIES", &here).core("RATE_MAX_MESSAGES", 1_000);
    let plan = plan.gateway("WS_HOST", &here).gateway("TCP_HOST", &here);
    plan.core("MAX_IN_FLIGHT", 100).start().await
}

/// One after another through the gateway and to the core, over `road`.
async fn arrive(net: &Net, road: &mut Road<'_>, town: &Town) -> Vec<Guest> {
    let gateway = road.to(town.gateways[0].address()).await;
    let core = road.to(town.core.address()).await;
    let address = |number: usize| match number % 2 {
        0 => format!("ws://{gateway}/ws"),
        _ => format!("tcp://{core}"),
    };
    let folder = town.room("guests");
    let arriving = (0..PEOPLE).map(|number| {
        let address: Address = address(number).parse().unwrap();
        Guest::arrive(net, number, address, &folder)
    });
    within(PATIENCE, join_all(arriving)).await.unwrap()
}

/// What the model says: different with each call, in `pieces` pieces.
fn recite<const PIECES: usize, const GAP_MS: u64>(number: u64, said: &str) -> Answer {
    let piece = |index: usize| format!("{number}.{index} ñandú, 🌱 y «{said}». ");
    Answer::pieces((0..PIECES).map(piece)).paced(GAP_MS, GAP_MS)
}

/// Everyone says goodbye. Each message is stored once, and has one answer, which is the one that
/// was shown; and the model was called once for each.
async fn compare(town: &Town, guests: Vec<Guest>) {
    let mut said = Vec::new();
    for guest in guests {
        let token = guest.token();
        let shown = within(PATIENCE, guest.leave()).await.unwrap();
        assert_eq!(stored(town, &token).await, shown);
        said.extend(shown.into_iter().filter(|entry| entry.role == "user").map(|entry| entry.text));
    }
    let asked = |request: &testkit::llm::Request| {
        let body = request.body();
        body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap().to_owned()
    };
    let mut asked: Vec<String> = town.standin.requests().iter().map(asked).collect();
    asked.sort();
    said.sort();
    assert_eq!(asked, said);
}

/// An entry, as it was shown or as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    seq: u64,
    id: String,
    role: String,
    text: String,
}

impl Entry {
    fn stored(entry: &Value) -> Self {
        let text = |name: &str| entry[name].as_str().unwrap().to_owned();
        Self { seq: entry["seq"].as_u64().unwrap(), id: text("id"), role: text("role"), text: text("text") }
    }
}

/// The whole session of this token, asked for from this side of the network.
async fn stored(town: &Town, token: &str) -> Vec<Entry> {
    let mut person = town.at_core().await;
    person.send(serde_json::json!({"type": "hello", "v": 1, "resume": token})).await;
    assert_eq!(person.frame().await["resumed"], true);
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| entry.seq);
        let params = serde_json::json!({ "after_seq": after });
        person.send(serde_json::json!({"type": "request", "id": "all", "method": "export", "params": params})).await;
        let result = person.frame_of("response").await["result"].take();
        entries.extend(result["entries"].as_array().unwrap().iter().map(Entry::stored));
        if result["more"] == false {
            return entries;
        }
    }
}

/// Everyone asks so many things, one after another.
async fn ask(guests: &mut [Guest], messages: usize) {
    let asking = guests.iter_mut().map(async |guest| {
        for _ in 0..messages {
            guest.say().await;
            guest.answered().await;
        }
    });
    within(PATIENCE, join_all(asking)).await.unwrap();
}

#[tokio::test]
async fn a_delay_of_100_ms() {
    let Some(net) = Net::lay() else { return };
    let town = town(&net, Plan::with_gateway().fallback(Fallback::Reply(recite::<8, 3>))).await;
    let mut road = Trouble::Delay.on(&net);
    let mut guests = arrive(&net, &mut road, &town).await;
    ask(&mut guests, 4).await;
    for guest in &guests {
        assert!(2 * DELAY <= guest.soonest_accepted(), "there was no delay: {:?}", guest.soonest_accepted());
    }
    compare(&town, guests).await;
}

#[tokio::test]
async fn a_loss_of_5_percent() {
    let Some(net) = Net::lay() else { return };
    let town = town(&net, Plan::with_gateway().fallback(Fallback::Reply(recite::<40, 5>))).await;
    let mut road = Trouble::Loss.on(&net);
    let mut guests = arrive(&net, &mut road, &town).await;
    ask(&mut guests, 4).await;
    compare(&town, guests).await;
    // Of about a thousand there were.
    assert!(10 <= road.lost(), "{} packets were lost", road.lost());
}

#[tokio::test]
async fn one_megabit_a_second() {
    let Some(net) = Net::lay() else { return };
    let town = town(&net, Plan::with_gateway().fallback(Fallback::Reply(recite::<400, 1>))).await;
    let mut road = Trouble::Rate.on(&net);
    let mut guests = arrive(&net, &mut road, &town).await;
    let begin = Instant::now();
    ask(&mut guests, 2).await;
    let (took, bytes) = (begin.elapsed(), guests.iter().map(Guest::bytes_shown).sum::<usize>());
    let least = Duration::from_secs_f64(bytes as f64 * 8.0 / f64::from(RATE_BITS));
    assert!(Duration::from_secs(1) <= least && least <= took, "{bytes} bytes of answers in {took:?}");
    compare(&town, guests).await;
}

/// While answers come, and before messages are sent. The gateway gives its connections up, so those
/// people resume; the core's others wait for TCP to go on.
#[tokio::test]
async fn a_cut_of_ten_seconds() {
    let Some(net) = Net::lay() else { return };
    let plan = Plan::with_gateway().gateway("PING_SECONDS", 1).gateway("PONG_SECONDS", 2);
    let town = town(&net, plan.fallback(Fallback::Reply(recite::<40, 50>))).await;
    let mut guests = arrive(&net, &mut Road::plain(), &town).await;
    ask(&mut guests, 1).await;

    let (listening, silent) = guests.split_at_mut(PEOPLE / 2);
    let beginnings = listening.iter_mut().map(async |guest| {
        guest.say().await;
        guest.heard_pieces(5).await;
    });
    within(PATIENCE, join_all(beginnings)).await.unwrap();
    net.cut();
    let cut = Instant::now();
    for guest in silent {
        guest.say().await;
    }
    sleep(CUT - cut.elapsed()).await;
    net.join();
    let up = Instant::now();
    let waiting = guests.iter_mut().map(async |guest| {
        guest.answered().await;
        guest.first_heard_after(up)
    });
    let waits = within(PATIENCE, join_all(waiting)).await.unwrap();
    net::say(&format!("from link up to going on: {waits:?}"));
    ask(&mut guests, 1).await;
    for guest in guests.iter().step_by(2) {
        assert!(guest.resumed(), "a person at the gateway has not resumed");
    }
    compare(&town, guests).await;
}
