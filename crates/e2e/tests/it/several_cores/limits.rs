//! What one person, one address and everyone together may do, over all cores.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use testkit::llm::{Answer, Fallback, Hang};
use testkit::watchdog::within;

use super::city::{City, LINKED, NOT_LINKED, Plan, Visitor};

const PEOPLE: usize = 20;
const MESSAGES: usize = 10;
/// How long all of them may take to talk on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Someone with a device at each core.
async fn devices(city: &City) -> [Visitor; 2] {
    let (first, welcome) = city.arrive(0).await;
    let (second, _) = city.resume(1, &welcome, 0).await;
    [first, second]
}

/// Says something with one device. Says whether it was accepted; otherwise it was too much.
async fn is_accepted(device: &mut Visitor, id: &str) -> bool {
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

/// Says something from one device after another; how many messages were accepted.
async fn talk(mut devices: [Visitor; 2], round: usize) -> ([Visitor; 2], usize) {
    let mut accepted = 0;
    for number in 0..2 * MESSAGES {
        let device = &mut devices[number % 2];
        accepted += usize::from(is_accepted(device, &format!("{round}-{number}")).await);
    }
    (devices, accepted)
}

#[tokio::test]
async fn a_person_has_one_window_whatever_core_they_talk_to() {
    let plan = Plan::default().set("RATE_MAX_MESSAGES", MESSAGES).set("RATE_WINDOW_SECONDS", 3_600);
    let mut city = plan.set("RATE_ADDRESS_FACTOR", 1_000).start().await;
    let people = join_all((0..PEOPLE).map(|_| devices(&city))).await;
    let talked = within(PATIENCE, join_all(people.into_iter().map(|devices| talk(devices, 1)))).await.unwrap();
    assert!(
        talked.iter().all(|(_, accepted)| *accepted == MESSAGES),
        "{:?}",
        talked.iter().map(|it| it.1).collect::<Vec<_>>()
    );

    // A Redis that has forgotten everything is told again.
    city.redis.kill().await.unwrap();
    for core in &city.cores {
        core.wait_for(NOT_LINKED).await;
    }
    city.redis.start().await.unwrap();
    for core in &city.cores {
        core.wait_for_times(2, LINKED).await;
    }
    let talked = join_all(talked.into_iter().map(|(devices, _)| talk(devices, 2))).await;
    let more: usize = talked.iter().map(|(_, accepted)| accepted).sum();
    assert!(more * 20 <= PEOPLE * MESSAGES, "{more} more than {}", PEOPLE * MESSAGES);
}

#[tokio::test]
async fn the_cores_together_make_no_more_calls_than_they_may() {
    const CALLS: usize = 6;
    let slow = Fallback::Reply(|_, _| Answer::pieces(["uno ", "dos ", "tres"]).paced(20, 20));
    let plan = Plan::default().set("MAX_IN_FLIGHT", CALLS).set("RATE_MAX_MESSAGES", 1_000_000);
    let city = plan.set("CONNECTS_PER_MINUTE_PER_ADDRESS", 1_000_000).fallback(slow).start().await;
    let person = async |core: usize| {
        let (mut person, _) = city.arrive(core).await;
        for number in 0..MESSAGES {
            let reply = person.ask(&number.to_string(), "hola").await;
            assert_eq!(reply.done["source"], json!("llm"));
        }
    };
    // All at one, then all at the other, then at both: the calls go where the people are.
    for cores in [[0, 0], [1, 1], [0, 1]] {
        let people = join_all((0..PEOPLE).map(|number| person(cores[number % 2])));
        within(PATIENCE, people).await.unwrap();
        // A core with nothing to do keeps one.
        let most = city.standin.most_in_flight();
        assert!((CALLS - 1..=CALLS).contains(&most), "{most}");
    }
    assert_eq!(city.standin.total(), 3 * (PEOPLE * MESSAGES) as u64);
}

#[tokio::test]
async fn what_was_stopped_on_one_core_counts_again_on_another() {
    let silent = Fallback::Answer(Answer::default().hanging(Hang::Headers));
    let plan = Plan::default().set("RATE_MAX_MESSAGES", 3).set("RATE_WINDOW_SECONDS", 3_600).fallback(silent);
    let city = plan.start().await;
    let mut devices = devices(&city).await;
    for round in 0..3 {
        let device = &mut devices[round % 2];
        device.say("m", "hola").await;
        while device.frame_of("accepted").await["id"] != "m" {}
        city.standin.wait_for(|calls| calls.len() == round + 1).await.unwrap();
        // Whichever device stops it, the core that answers it notes so before it tells.
        device.send(json!({"type": "stop", "id": "m"})).await;
        assert_eq!(device.frame_of("done").await["finish"], "stopped");
        let other = &mut devices[(round + 1) % 2];
        assert_eq!(other.frame_of("done").await["finish"], "stopped");
    }
    for device in &mut devices {
        device.say("m", "hola").await;
        assert_eq!(device.frame_of("error").await["code"], "rate_limited");
    }
    assert_eq!(city.standin.total(), 3);
}
