//! Against real HTTP servers on loopback. What becomes of a provider's faults is in `e2e`, `faults`.

use protocol::trace::Traceparent;
use protocol::{MessageLabel, UserLabel, UserText};
use testkit::llm::{Answer as Scripted, Fallback, LlmStandin, Options};

use super::*;
use crate::llm::{Asked, Backoff, CallTimes, ChatRole, ProviderSettings};

const LONG: Duration = Duration::from_secs(20);

/// Providers that always give these answers, `model-1` the first.
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
        asked: Asked { temperature: 0.5, max_tokens: 10 },
        times: CallTimes { connect: LONG, first_token: LONG, silence: LONG, total: LONG },
        tries: 1,
        backoff: Backoff { initial: Duration::ZERO, max: Duration::ZERO },
        deadline: LONG,
    }
}

/// The model that answered, or why none did.
async fn ask(model: &Model) -> Result<String, LlmError> {
    let messages = [ChatMessage { role: ChatRole::User, content: UserText::new("hola") }];
    let label = MessageLabel { user: UserLabel(1), number: 1 };
    let answer = model.open(&messages, CallContext { label, trace: Traceparent::random() }).await?;
    Ok(answer.model().to_owned())
}

fn totals(standins: &[LlmStandin]) -> Vec<u64> {
    standins.iter().map(LlmStandin::total).collect()
}

fn works() -> Scripted {
    Scripted::text("hola")
}

#[tokio::test]
async fn what_nobody_waits_for_is_asked_once_and_finds_out_nothing() {
    let both = standins(&[Scripted::status(500), works()]).await;
    let model = Model::new(LlmSettings { tries: 3, ..settings(&both) }).unwrap();
    let asked = Asked { temperature: 0.25, max_tokens: 99 };
    let once = async || {
        let messages = [ChatMessage { role: ChatRole::System, content: UserText::new("hola") }];
        let label = MessageLabel { user: UserLabel(1), number: 1 };
        let context = CallContext { label, trace: Traceparent::random() };
        model.open_once(&messages, asked, context).await.map(|answer| answer.model().to_owned())
    };
    for _ in 0..10 {
        assert!(matches!(once().await, Err(LlmError::Status { status: 500, .. })));
    }
    assert_eq!(totals(&both), [10, 0]);
    // Its failures count like others': the first is left alone now.
    assert_eq!(once().await.unwrap(), "model-2");
    let body = both[1].requests()[0].body();
    assert_eq!((&body["temperature"], &body["max_tokens"]), (&0.25.into(), &99.into()));
    for _ in 0..10 {
        model.providers[1].breaker().failed(Instant::now());
    }
    assert!(matches!(once().await, Err(LlmError::NoProvider)));
    assert_eq!(totals(&both), [10, 1]);
}

#[tokio::test]
async fn weights_share_out_the_calls() {
    let standins = standins(&[works(), works(), works()]).await;
    let mut settings = settings(&standins);
    for (provider, weight) in settings.providers.iter_mut().zip([1, 3, 0]) {
        provider.weight = weight;
    }
    let model = Model::new(settings).unwrap();
    for _ in 0..400 {
        ask(&model).await.unwrap();
    }
    let totals = totals(&standins);
    // A fair coin of 1 : 3 strays this far once in a million runs.
    assert!((58..=142).contains(&totals[0]) && totals[2] == 0, "{totals:?}");
}
