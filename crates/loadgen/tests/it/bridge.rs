use std::time::Duration;

use loadgen::bridge::{self, Options};

#[tokio::test]
async fn measures_the_baseline() {
    let options = Options {
        loadgen: env!("CARGO_BIN_EXE_loadgen").into(),
        gateway: None,
        haproxy: None,
        rounds: 2,
        phase: Duration::from_millis(30),
        connections: 3,
        idle: 20,
        settle: Duration::from_millis(1),
        line_bytes: 64,
    };
    let report = bridge::run(&options).await.unwrap();
    assert_eq!(report.rows.len(), 1);
    let baseline = &report.rows[0];
    assert!(0.0 < baseline.round_trip_p50_us.value.min, "{report}");
    assert!(0.0 < baseline.rate_per_second.value.min, "{report}");
    assert!(baseline.round_trip_p50_us.ratio.is_none() && baseline.idle_bytes_each.is_some(), "{report}");
}

#[tokio::test]
async fn rejects_missing_binary() {
    let options = Options {
        loadgen: "/nonexistent/loadgen".into(),
        gateway: None,
        haproxy: None,
        rounds: 1,
        phase: Duration::ZERO,
        connections: 1,
        idle: 0,
        settle: Duration::ZERO,
        line_bytes: 64,
    };
    assert!(bridge::run(&options).await.is_err());
}
