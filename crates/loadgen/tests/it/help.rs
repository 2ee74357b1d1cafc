use std::collections::BTreeSet;

use loadgen::Binaries;
use loadgen::help::{self, Condition, EntryPoint};

/// Few users: asserts that all are helped, not the latencies.
#[tokio::test]
async fn every_user_gets_help_in_every_condition() {
    let options = help::Options {
        binaries: Binaries::default(),
        disk: std::env::temp_dir(),
        people: 3,
        redis_server: "redis-server".into(),
        postgres: true,
    };
    let report = help::run(&options).await.unwrap();
    assert_eq!(report.not_helped(), 0, "{report}");
    for row in &report.rows {
        assert_eq!((row.people, row.helped), (3, 3), "{report}");
        assert_eq!(row.latency.unwrap().count, 3, "{report}");
    }
    let measured: BTreeSet<_> =
        report.rows.iter().map(|row| format!("{} {}", row.condition, row.entry_point)).collect();
    assert_eq!(measured.len(), Condition::ALL.len() * EntryPoint::ALL.len(), "{report}");
    assert!(0.0 < report.others_per_second.unwrap(), "{report}");
}

#[tokio::test]
async fn rejects_missing_binary() {
    let nowhere = Some("/nonexistent/core-server".into());
    let options = help::Options {
        binaries: Binaries { core: nowhere, gateway: None },
        disk: std::env::temp_dir(),
        people: 1,
        redis_server: "redis-server".into(),
        postgres: false,
    };
    assert!(help::run(&options).await.is_err());
}
