use std::time::Duration;

use loadgen::Binaries;
use loadgen::overload;
use loadgen::pressure::{self, PhaseKind};

/// Short run with few users: asserts that results are complete, not their values.
#[tokio::test]
async fn counts_users_and_attackers() {
    let options = pressure::Options {
        binaries: Binaries::default(),
        disk: std::env::temp_dir(),
        people: 5,
        think: Duration::from_millis(50),
        phase: Duration::from_secs(1),
        pause: Duration::from_millis(100),
        rounds: 1,
        flood_per_second: 200,
        // Niced attackers might never run on a busy machine.
        attack_nice: 0,
        seed: 1,
    };
    let report = pressure::run(&options).await.unwrap();
    let kinds: Vec<PhaseKind> = report.rows.iter().map(|row| row.kind).collect();
    assert_eq!(kinds, [PhaseKind::Quiet, PhaseKind::OtherStack, PhaseKind::Pressure, PhaseKind::Quiet]);
    for row in &report.rows {
        assert!(0 < row.turns && row.errors.is_empty(), "{report}");
        assert!(0 < row.core.resident_bytes_before && 0 < row.gateway.resident_bytes_peak, "{report}");
    }
    assert_eq!((report.ratios.len(), report.outcomes.len()), (6, 10), "{report}");
    assert!(report.ratios.iter().all(|ratio| 0.0 < ratio.of_quiet && 0.0 < ratio.of_other_stack), "{report}");
    let flood: u64 = report.outcomes["flood at the core"].values().sum();
    assert!((1..=110).contains(&flood), "{report}");
    assert!(report.endings.iter().all(|endings| !endings.is_empty()), "{report}");
}

#[tokio::test]
async fn counts_served_and_refused() {
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
