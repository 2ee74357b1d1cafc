//! A reader of the logs that stops reading stops nothing else.

use futures_util::future::join_all;
use protocol::Face;

use crate::http;
use crate::town::{Plan, Town};

/// Connections that come and go: many times the lines that a pipe holds, and fewer than the queue does.
const ROUNDS: usize = 30;
const AT_ONCE: usize = 20;

async fn come_and_go(town: &Town) {
    let mut person = town.at_gateway(Face::Frames).await;
    person.hello().await;
    person.say("m", "hola").await;
    assert_eq!(person.reply("m").await.done["finish"], "stop");
    person.send(serde_json::json!({"type": "bye"})).await;
    person.ending().await;
}

#[tokio::test]
async fn people_health_and_the_end_do_not_wait_for_a_reader_of_the_log() {
    let plan = Plan::with_gateway().both("CONNECTS_PER_MINUTE_PER_ADDRESS", "1000000");
    let mut town = plan.core("RATE_ADDRESS_FACTOR", 1_000_000).start().await;
    let programs = [&town.core, &town.gateways[0]];
    programs.iter().for_each(|program| program.read_log(false));
    for _ in 0..ROUNDS {
        join_all((0..AT_ONCE).map(|_| come_and_go(&town))).await;
    }
    for program in programs {
        assert_eq!(http::get(program.admin(), "/healthz").await.unwrap().0, 200);
    }

    // Nothing was lost: it waits for its reader.
    programs.iter().for_each(|program| program.read_log(true));
    for program in programs {
        program.wait_for_times(ROUNDS * AT_ONCE, "connection closed").await;
        let (_, metrics) = http::get(program.admin(), "/metrics").await.unwrap();
        assert!(metrics.contains("\nprocess_log_lines_dropped_total 0\n"), "{metrics}");
    }

    programs.iter().for_each(|program| program.read_log(false));
    for _ in 0..ROUNDS {
        join_all((0..AT_ONCE).map(|_| come_and_go(&town))).await;
    }
    assert!(town.gateways[0].terminate().await.success());
    assert!(town.core.terminate().await.success());
}
