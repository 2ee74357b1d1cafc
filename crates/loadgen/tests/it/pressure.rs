use std::time::Duration;

use loadgen::Binaries;
use loadgen::overload;
use loadgen::pressure::{self, Kind};

/// Short, and with few people: what is measured means nothing, but that it is measured does.
#[tokio::test]
async fn people_and_those_in_their_way_are_counted() {
    let options = pressure::Options {
        binaries: Binaries::default(),
        disk: std::env::temp_dir(),
        people: 5,
        think: Duration::from_millis(50),
        phase: Duration::from_secs(1),
        pause: Duration::from_millis(100),
        rounds: 1,
        flood_per_second: 200,
        // So that they get to begin, however busy the machine is.
        siege_nice: 0,
        seed: 1,
    };
    let report = pressure::run(&options).await.unwrap();
    let kinds: Vec<Kind> = report.rows.iter().map(|row| row.kind).collect();
    assert_eq!(kinds, [Kind::Quiet, Kind::Elsewhere, Kind::Pressure, Kind::Quiet]);
    for row in &report.rows {
        assert!(0 < row.turns && row.errors.is_empty(), "{report}");
        assert!(0 < row.core.resident_bytes_before && 0 < row.gateway.resident_bytes_peak, "{report}");
    }
    assert_eq!((report.ratios.len(), report.fates.len()), (6, 10), "{report}");
    assert!(report.ratios.iter().all(|ratio| 0.0 < ratio.of_quiet && 0.0 < ratio.of_elsewhere), "{report}");
    let flood: u64 = report.fates["flood at the core"].values().sum();
    assert!((1..=110).contains(&flood), "{report}");
    assert!(report.endings.iter().all(|endings| !endings.is_empty()), "{report}");
}

#[tokio::test]
async fn what_is_served_and_what_is_refused_is_counted() {
    let options = overload::Options {
        binaries: Binaries::default(),
        disk: std::env::temp_dir(),
        slots: 2,
        queue: 2,
        answer: Duration::from_millis(100),
        factor: 5.0,
        people: 20,
        time: Duration::from_secs(1),
    };
    let report = overload::run(&options).await.unwrap();
    assert!(0 < report.served && 0.0 < report.served_of_capacity && report.served_of_capacity <= 1.01, "{report}");
    assert_eq!(report.refused.keys().collect::<Vec<_>>(), ["overloaded"], "{report}");
    let refused: u64 = report.refused.values().sum();
    assert_eq!((report.refusal.unwrap().count, report.without_retry_after), (refused, 0), "{report}");
    assert_eq!((report.most_at_once, report.back.is_some()), (2, true), "{report}");
}
