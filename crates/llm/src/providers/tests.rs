//! Failover against HTTP servers on loopback. Faults of providers are covered by `e2e`, `faults`.

mod connections;

use protocol::trace::Traceparent;
use protocol::{MessageLabel, UserLabel, UserText};
use service_runtime::Secret;
use service_runtime::metrics::Registry;
use testkit::llm::{Answer as Scripted, Fallback, LlmStandin, Options, RetryAfter};

use super::*;
use crate::{Backoff, CallTimeouts, ChatRole, SamplingParams, TokenSettings};

const LONG: Duration = Duration::from_secs(20);

/// Starts a provider for each of `answers`, which it always gives; the first is `model-1`.
async fn standins(answers: &[Scripted]) -> Vec<LlmStandin> {
    let mut standins = Vec::new();
    for answer in answers {
        let fallback = Fallback::Answer(answer.clone());
        standins.push(LlmStandin::start(Options { fallback, ..Options::default() }).await.unwrap());
    }
    standins
}

fn settings(standins: &[LlmStandin]) -> LlmSettings {
    let provider = |(number, standin): (usize, &LlmStandin)| ProviderSettings {
        url: standin.url().parse().unwrap(),
        key: None,
        model: format!("model-{number}"),
        weight: 0,
    };
    LlmSettings {
        providers: (1..).zip(standins).map(provider).collect(),
        sampling: SamplingParams { temperature: 0.5, max_tokens: 10 },
        timeouts: CallTimeouts { connect: LONG, first_token: LONG, silence: LONG, total: LONG },
        tries: 1,
        backoff: Backoff { initial: Duration::ZERO, max: Duration::ZERO },
        deadline: LONG,
        max_connections: 10,
        tokens: TokenSettings { per_day: None, chars_per_token: 4.0 },
    }
}

fn model_of(settings: LlmSettings) -> Model {
    Model::new(settings, &ModelMetrics::new(&Registry::default())).unwrap()
}

/// Requests an answer and returns the model's name.
async fn ask(model: &Model) -> Result<String, LlmError> {
    let messages = [ChatMessage { role: ChatRole::User, content: UserText::new("hola") }];
    let label = MessageLabel { user: UserLabel(1), number: 1 };
    let answer = model.stream_completion(&messages, None, CallContext { label, trace: Traceparent::random() }).await?;
    Ok(answer.model().to_owned())
}

fn totals(standins: &[LlmStandin]) -> Vec<u64> {
    standins.iter().map(LlmStandin::total).collect()
}

fn works() -> Scripted {
    Scripted::text("hola")
}

#[tokio::test]
async fn background_calls_try_once_and_never_probe() {
    let both = standins(&[Scripted::status(500), works()]).await;
    let model =
        Model::new(LlmSettings { tries: 3, ..settings(&both) }, &ModelMetrics::new(&Registry::default())).unwrap();
    let asked = SamplingParams { temperature: 0.25, max_tokens: 99 };
    let once = async || {
        let messages = [ChatMessage { role: ChatRole::System, content: UserText::new("hola") }];
        let label = MessageLabel { user: UserLabel(1), number: 1 };
        let context = CallContext { label, trace: Traceparent::random() };
        model.try_once(&messages, asked, context).await.map(|answer| answer.model().to_owned())
    };
    for _ in 0..10 {
        assert!(matches!(once().await, Err(LlmError::Status { status: 500, .. })));
    }
    assert_eq!(totals(&both), [10, 0]);
    // Its failures count too: the first breaker is open now.
    assert_eq!(once().await.unwrap(), "model-2");
    let body = both[1].requests()[0].body();
    assert_eq!((&body["temperature"], &body["max_tokens"]), (&0.25.into(), &99.into()));
    for _ in 0..10 {
        model.providers[1].breaker().failed(Instant::now());
    }
    assert!(matches!(once().await, Err(LlmError::NoProvider)));
    assert_eq!(totals(&both), [10, 1]);
}

/// A `Retry-After` beyond any backoff opens the breaker, which is logged and shown by `/readyz`; one in the rejection
/// of a single message does not affect others.
#[tokio::test]
async fn long_retry_after_degrades_readiness() {
    for (status, seconds, is_unavailable, can_attempt) in [
        (429, 4, false, true),
        (429, 7, true, false),
        (429, 60, true, false),
        (503, 7, true, false),
        (400, 60, false, true),
    ] {
        let answer = Scripted { retry_after: Some(RetryAfter::Seconds(seconds)), ..Scripted::status(status) };
        let backoff = Backoff { initial: Duration::ZERO, max: Duration::from_secs(5) };
        let one = standins(&[answer]).await;
        let model = model_of(LlmSettings { backoff, ..settings(&one) });
        assert!(matches!(ask(&model).await, Err(LlmError::Status { status: got, .. }) if got == status));
        let got = (model.is_unavailable(), model.can_attempt(), model.readiness().problem.is_some());
        assert_eq!(got, (is_unavailable, can_attempt, is_unavailable), "{status}, {seconds} s");
    }
}

#[tokio::test]
async fn weights_distribute_calls() {
    let standins = standins(&[works(), works(), works()]).await;
    let mut settings = settings(&standins);
    for (provider, weight) in settings.providers.iter_mut().zip([1, 3, 0]) {
        provider.weight = weight;
    }
    let model = model_of(settings);
    for _ in 0..400 {
        ask(&model).await.unwrap();
    }
    let totals = totals(&standins);
    // At odds of 1 : 3 the count leaves this range once in a million runs.
    assert!((58..=142).contains(&totals[0]) && totals[2] == 0, "{totals:?}");
}

#[test]
fn provider_names_are_unique() {
    let provider = |url: &str, model: &str| ProviderSettings {
        url: url.parse().unwrap(),
        key: None,
        model: model.to_owned(),
        weight: 0,
    };
    let providers = [
        ("http://a:1/v1", "m"),
        ("http://a:2/v1", "m"),
        ("http://a/v1", "n"),
        ("https://b/v1", "m"),
        ("http://a/v2", "m"),
    ];
    let got = names(&providers.map(|(url, model)| provider(url, model)));
    assert_eq!(got, ["a/m", "a/m#2", "a/n", "b/m", "a/m#3"]);
}

/// By API key, else by the URL's user information, which its name does not show.
#[tokio::test]
async fn authorizes_by_key_or_user_information() {
    let standin = standins(&[works()]).await.remove(0);
    let url = |login: &str| standin.url().replace("://", &format!("://{login}"));
    let cases = [
        (url(""), None, None),
        (url(""), Some("clave"), Some("Bearer clave")),
        (url("a%C3%B1o:cl%40ve@"), None, Some("Basic YcOxbzpjbEB2ZQ==")),
        (url("nombre@"), None, Some("Basic bm9tYnJlOg==")),
        (url("nombre:otra@"), Some("clave"), Some("Bearer clave")),
    ];
    for (url, key, want) in cases {
        let mut settings = settings(std::slice::from_ref(&standin));
        settings.providers[0].url = url.parse().unwrap();
        settings.providers[0].key = Secret::read(key, None).unwrap();
        let model = model_of(settings);
        ask(&model).await.unwrap();
        assert_eq!(standin.requests().last().unwrap().authorization(), want, "{url}");
        assert_eq!(model.providers[0].name(), "127.0.0.1/model-1");
        assert!(!format!("{model:?}").contains("otra"));
    }
    let mut settings = settings(&[standin]);
    settings.providers[0].key = Secret::read(Some("cla\nve"), None).unwrap();
    let error = Model::new(settings, &ModelMetrics::new(&Registry::default())).unwrap_err();
    assert_eq!(error.to_string(), "the key of 127.0.0.1/model-1 has characters that no HTTP header may have");
}

/// A provider at its limit is skipped, and called again once a call has ended.
#[tokio::test]
async fn limits_concurrent_calls() {
    let slow = Scripted::chunks(3).paced(0, 60_000);
    let standins = standins(&[slow.clone(), slow]).await;
    let registry = Registry::default();
    let timeouts = CallTimeouts { connect: Duration::from_millis(100), ..settings(&standins).timeouts };
    let settings = LlmSettings { max_connections: 1, timeouts, ..settings(&standins) };
    let model = Model::new(settings, &ModelMetrics::new(&registry)).unwrap();
    let messages = [ChatMessage { role: ChatRole::User, content: UserText::new("hola") }];
    let label = MessageLabel { user: UserLabel(1), number: 1 };
    let open = || model.stream_completion(&messages, None, CallContext { label, trace: Traceparent::random() });
    let (first, second) = (open().await.unwrap(), open().await.unwrap());
    assert_eq!((first.model(), second.model()), ("model-1", "model-2"));
    assert!(matches!(open().await.unwrap_err(), LlmError::Exhausted { .. }));
    drop(first);
    assert_eq!(open().await.unwrap().model(), "model-1");
    drop(second);
    let text = registry.text();
    for (series, value) in [
        ("model_connections_max{provider=\"127.0.0.1/model-1\"}", 1),
        ("model_connections_in_use{provider=\"127.0.0.1/model-1\"}", 0),
        ("model_connections_exhausted_total{provider=\"127.0.0.1/model-1\"}", 2),
        ("model_connections_exhausted_total{provider=\"127.0.0.1/model-2\"}", 1),
        ("model_connection_wait_seconds_count{provider=\"127.0.0.1/model-1\"}", 2),
        ("model_connects_total{outcome=\"ok\",provider=\"127.0.0.1/model-1\"}", 2),
        ("model_calls_total{outcome=\"exhausted\",provider=\"127.0.0.1/model-1\"}", 2),
        ("model_calls_total{outcome=\"cancelled\",provider=\"127.0.0.1/model-1\"}", 2),
    ] {
        let line = format!("psicoia_core_{series} {value}");
        assert!(text.lines().any(|got| got == line), "no {line} in\n{text}");
    }
}

/// An established connection, and a failed attempt.
#[tokio::test]
async fn counts_connection_attempts() {
    let standins = standins(&[works()]).await;
    let registry = Registry::default();
    let model = Model::new(settings(&standins), &ModelMetrics::new(&registry)).unwrap();
    let messages = [ChatMessage { role: ChatRole::User, content: UserText::new("hola") }];
    let label = MessageLabel { user: UserLabel(1), number: 1 };
    let open = || model.stream_completion(&messages, None, CallContext { label, trace: Traceparent::random() });
    let count = |outcome: &str| {
        let start = format!("psicoia_core_model_connects_total{{outcome=\"{outcome}\",");
        let text = registry.text();
        let line = text.lines().find(|line| line.starts_with(&start)).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!((count("ok"), count("failed")), ("0".to_owned(), "0".to_owned()), "connects lazily");
    let mut answer = open().await.unwrap();
    while let Some(piece) = answer.next().await {
        piece.unwrap();
    }
    drop(answer);
    assert_eq!(count("ok"), "1");
    assert_eq!(count("failed"), "0");
    for standin in standins {
        standin.stop().await;
    }
    open().await.unwrap_err();
    assert_ne!(count("failed"), "0");
    assert_eq!(count("ok"), "1");
}
