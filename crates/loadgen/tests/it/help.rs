use std::collections::BTreeSet;

use loadgen::Binaries;
use loadgen::help::{self, Condition, Door};

/// Few people: what is measured means nothing, but that everybody is helped does.
#[tokio::test]
async fn everybody_is_helped_whatever_is_wrong() {
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
    let measured: BTreeSet<_> = report.rows.iter().map(|row| format!("{} {}", row.condition, row.door)).collect();
    assert_eq!(measured.len(), Condition::ALL.len() * Door::ALL.len(), "{report}");
    assert!(0.0 < report.others_per_second.unwrap(), "{report}");
}

#[tokio::test]
async fn a_binary_that_is_not_there_is_an_error() {
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
