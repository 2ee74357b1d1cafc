//! Limits per user, per address and in total, enforced across cores.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use testkit::llm::{Answer, Fallback, Hang};
use testkit::watchdog::within;

use super::cluster::{Cluster, ClusterClient, Plan, REDIS_CONNECTED, REDIS_LOST};

const PEOPLE: usize = 20;
const MESSAGES: usize = 10;
/// Timeout of all turns on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Connects one device per core to one session.
async fn devices(cluster: &Cluster) -> [ClusterClient; 2] {
    let (first, welcome) = cluster.arrive(0).await;
    let (second, _) = cluster.resume(1, &welcome, 0).await;
    [first, second]
}

/// Sends a message on one device; true if accepted, false if rate limited.
async fn is_accepted(device: &mut ClusterClient, id: &str) -> bool {
    device.say(id, "hola").await;
    loop {
        let frame = device.frame().await;
        if frame["id"] == id && frame["type"] == "accepted" {
            while device.frame_of("done").await["id"] != id {}
            return true;
        }
        if frame["id"] == id && frame["type"] == "error" {
            assert_eq!(frame["code"], "rate_limited", "{frame}");
            assert!(frame["retry_after_ms"].as_u64().is_some_and(|after| 0 < after), "{frame}");
            return false;
        }
    }
}

/// Sends messages from the devices in turn; returns the number accepted.
async fn talk(mut devices: [ClusterClient; 2], round: usize) -> ([ClusterClient; 2], usize) {
    let mut accepted = 0;
    for number in 0..2 * MESSAGES {
        let device = &mut devices[number % 2];
        accepted += usize::from(is_accepted(device, &format!("{round}-{number}")).await);
    }
    (devices, accepted)
}

#[tokio::test]
async fn rate_window_is_shared_by_all_cores() {
    let plan = Plan::default().set("RATE_MAX_MESSAGES", MESSAGES).set("RATE_WINDOW_SECONDS", 3_600);
    let mut cluster = plan.set("RATE_ADDRESS_FACTOR", 1_000).start().await;
    let people = join_all((0..PEOPLE).map(|_| devices(&cluster))).await;
    let talked = within(TIMEOUT, join_all(people.into_iter().map(|devices| talk(devices, 1)))).await.unwrap();
    assert!(
        talked.iter().all(|(_, accepted)| *accepted == MESSAGES),
        "{:?}",
        talked.iter().map(|it| it.1).collect::<Vec<_>>()
    );

    // An emptied Redis is filled again.
    cluster.redis.kill().await.unwrap();
    for core in &cluster.cores {
        core.wait_for(REDIS_LOST).await;
    }
    cluster.redis.start().await.unwrap();
    for core in &cluster.cores {
        core.wait_for_times(2, REDIS_CONNECTED).await;
    }
    let talked = join_all(talked.into_iter().map(|(devices, _)| talk(devices, 2))).await;
    let more: usize = talked.iter().map(|(_, accepted)| accepted).sum();
    assert!(more * 20 <= PEOPLE * MESSAGES, "{more} more than {}", PEOPLE * MESSAGES);
}

#[tokio::test]
async fn call_limit_is_shared_by_all_cores() {
    const CALLS: usize = 6;
    let slow = Fallback::Reply(|_, _| Answer::pieces(["uno ", "dos ", "tres"]).paced(20, 20));
    let plan = Plan::default().set("MAX_IN_FLIGHT", CALLS).set("RATE_MAX_MESSAGES", 1_000_000);
    let cluster = plan.set("CONNECTS_PER_MINUTE_PER_ADDRESS", 1_000_000).fallback(slow).start().await;
    let person = async |core: usize| {
        let (mut person, _) = cluster.arrive(core).await;
        for number in 0..MESSAGES {
            let reply = person.ask(&number.to_string(), "hola").await;
            assert_eq!(reply.done["source"], json!("llm"));
        }
    };
    // All users on one core, on the other, then on both: permits follow the load.
    for cores in [[0, 0], [1, 1], [0, 1]] {
        let people = join_all((0..PEOPLE).map(|number| person(cores[number % 2])));
        within(TIMEOUT, people).await.unwrap();
        // An idle core keeps one permit.
        let most = cluster.standin.most_in_flight();
        assert!((CALLS - 1..=CALLS).contains(&most), "{most}");
    }
    assert_eq!(cluster.standin.total(), 3 * (PEOPLE * MESSAGES) as u64);
}

#[tokio::test]
async fn stopped_messages_count_on_every_core() {
    let silent = Fallback::Answer(Answer::default().hanging(Hang::Headers));
    let plan = Plan::default().set("RATE_MAX_MESSAGES", 3).set("RATE_WINDOW_SECONDS", 3_600).fallback(silent);
    let cluster = plan.start().await;
    let mut devices = devices(&cluster).await;
    for round in 0..3 {
        let device = &mut devices[round % 2];
        device.say("m", "hola").await;
        while device.frame_of("accepted").await["id"] != "m" {}
        cluster.standin.wait_for(|calls| calls.len() == round + 1).await.unwrap();
        // The answering core records the stop before it publishes the event, whichever device stops.
        device.send(json!({"type": "stop", "id": "m"})).await;
        assert_eq!(device.frame_of("done").await["finish"], "stopped");
        let other = &mut devices[(round + 1) % 2];
        assert_eq!(other.frame_of("done").await["finish"], "stopped");
    }
    for device in &mut devices {
        device.say("m", "hola").await;
        assert_eq!(device.frame_of("error").await["code"], "rate_limited");
    }
    assert_eq!(cluster.standin.total(), 3);
}
