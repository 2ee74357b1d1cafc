//! A blocked log reader must not block the service.

use futures_util::future::join_all;
use protocol::Face;

use crate::http;
use crate::single_node::{Plan, SingleNode};

/// Number of connections: their log lines exceed the pipe's capacity, but not the log queue's.
const ROUNDS: usize = 30;
const MAX_CONCURRENT: usize = 20;

async fn come_and_go(node: &SingleNode) {
    let mut person = node.at_gateway(Face::Frames).await;
    person.hello().await;
    person.say("m", "hola").await;
    assert_eq!(person.reply("m").await.done["finish"], "stop");
    person.send(serde_json::json!({"type": "bye"})).await;
    person.ending().await;
}

#[tokio::test]
async fn blocked_log_reader_delays_neither_clients_nor_shutdown() {
    let plan = Plan::with_gateway().both("CONNECTS_PER_MINUTE_PER_ADDRESS", "1000000");
    let mut node = plan.core("RATE_ADDRESS_FACTOR", 1_000_000).start().await;
    let programs = [&node.core, &node.gateways[0]];
    programs.iter().for_each(|program| program.read_log(false));
    for _ in 0..ROUNDS {
        join_all((0..MAX_CONCURRENT).map(|_| come_and_go(&node))).await;
    }
    for program in programs {
        assert_eq!(http::get(program.admin(), "/healthz").await.unwrap().0, 200);
    }

    // No line was lost: they wait in the queue.
    programs.iter().for_each(|program| program.read_log(true));
    for program in programs {
        program.wait_for_times(ROUNDS * MAX_CONCURRENT, "connection closed").await;
        let (_, metrics) = http::get(program.admin(), "/metrics").await.unwrap();
        assert!(metrics.contains("\nprocess_log_lines_dropped_total 0\n"), "{metrics}");
    }

    programs.iter().for_each(|program| program.read_log(false));
    for _ in 0..ROUNDS {
        join_all((0..MAX_CONCURRENT).map(|_| come_and_go(&node))).await;
    }
    assert!(node.gateways[0].terminate().await.success());
    assert!(node.core.terminate().await.success());
}
