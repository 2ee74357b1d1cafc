//! Connections are reused, counted while open, and drained in the background.

use testkit::llm::{Hang, Outcome};
use testkit::{clock, watchdog};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::CompletionStream;
use crate::metrics::ProviderMetrics;

/// Starts one provider that always gives `answer`, and a model with this limit on concurrent calls.
async fn one(answer: Scripted, max_connections: usize) -> (LlmStandin, Model) {
    let mut standins = standins(&[answer]).await;
    let model = model_of(LlmSettings { max_connections, ..settings(&standins) });
    (standins.remove(0), model)
}

async fn begin(model: &Model) -> Result<CompletionStream<'_>, LlmError> {
    let messages = [ChatMessage { role: ChatRole::User, content: UserText::new("hola") }];
    let label = MessageLabel { user: UserLabel(1), number: 1 };
    model.stream_completion(&messages, None, CallContext { label, trace: Traceparent::random() }).await
}

async fn read(mut answer: CompletionStream<'_>) {
    while let Some(piece) = answer.next().await {
        piece.unwrap();
    }
}

/// Waits for these counts: open connections, idle ones, calls in flight.
async fn counted(model: &Model, want: (i64, i64, i64)) {
    let metrics = model.providers[0].metrics();
    let counts =
        |of: &ProviderMetrics| (of.connections_open.get(), of.connections_idle.get(), of.connections_in_use.get());
    let fits = async {
        while counts(metrics) != want {
            tokio::task::yield_now().await;
        }
    };
    let fits = watchdog::within(watchdog::LIMIT, fits).await;
    assert!(fits.is_ok(), "{:?}, not {want:?}", counts(metrics));
}

/// Also if the response ends a moment after the answer.
#[tokio::test]
async fn reuses_one_connection_for_sequential_calls() {
    let answers = [works(), Scripted::default(), Scripted::status(429), Scripted::status(500)];
    for answer in answers.into_iter().flat_map(|answer| [answer.clone(), answer.ending_after(20)]) {
        let (standin, model) = one(answer.clone(), 1).await;
        for _ in 0..5 {
            match begin(&model).await {
                Ok(answer) => read(answer).await,
                Err(error) => assert!(answer != works(), "{error}"),
            }
        }
        counted(&model, (1, 1, 0)).await;
        assert_eq!((standin.total(), standin.connections()), (5, 1), "{answer:?}");
    }
}

/// The answer completes before its response, whose connection is closed after the drain timeout and not reused.
#[tokio::test(start_paused = true)]
async fn closes_a_response_that_does_not_end() {
    let _frozen = clock::FrozenClock::freeze();
    for answer in [works(), Scripted::status(500)] {
        let (standin, model) = one(answer.hanging(Hang::End), 10).await;
        let asked = Instant::now();
        if let Ok(answer) = begin(&model).await {
            read(answer).await;
        }
        assert_eq!(asked.elapsed(), Duration::ZERO);
        counted(&model, (1, 0, 1)).await;
        clock::advance(Duration::from_millis(490)).await;
        assert_eq!(standin.requests()[0].outcome, Outcome::Running);
        clock::advance(Duration::from_millis(10)).await;
        counted(&model, (0, 0, 0)).await;
        standin.wait_for(|calls| calls[0].outcome == Outcome::Cancelled).await.unwrap();
    }
}

/// Data after the end of an answer closes the connection.
#[tokio::test(start_paused = true)]
async fn closes_a_response_that_goes_on() {
    let _frozen = clock::FrozenClock::freeze();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let talking = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut [0; 4_096]).await.unwrap(), 0);
        let event = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        let head = "HTTP/1.1 200 OK\r\n\r\n";
        stream.write_all(format!("{head}{event}data: [DONE]\n\n").as_bytes()).await.unwrap();
        while stream.write_all(event.as_bytes()).await.is_ok() {}
    };
    let mut settings = settings(&[]);
    settings.providers =
        vec![ProviderSettings { url: url.parse().unwrap(), key: None, model: "m".to_owned(), weight: 0 }];
    let model = model_of(settings);
    let asking = async {
        read(begin(&model).await.unwrap()).await;
        counted(&model, (0, 0, 0)).await;
    };
    tokio::join!(asking, talking);
}

#[tokio::test]
async fn counts_open_and_idle_through_the_life_of_calls() {
    let (standin, model) = one(works(), 10).await;
    counted(&model, (0, 0, 0)).await;
    // A call counts before its response begins, too.
    standin.push(Scripted::default().hanging(Hang::Headers));
    {
        let taken = async {
            standin.wait_for(|calls| !calls.is_empty()).await.unwrap();
            counted(&model, (1, 0, 1)).await;
        };
        tokio::select! {
            _ = begin(&model) => panic!("answered"),
            () = taken => {}
        }
    }
    counted(&model, (0, 0, 0)).await;
    standin.push(Scripted::pieces(["a"]).hanging(Hang::Stream));
    let stopped = begin(&model).await.unwrap();
    counted(&model, (1, 0, 1)).await;
    let whole = begin(&model).await.unwrap();
    counted(&model, (2, 0, 2)).await;
    read(whole).await;
    counted(&model, (2, 1, 1)).await;
    drop(stopped);
    counted(&model, (1, 1, 0)).await;
    let calls = standin.wait_for(|calls| calls[1].outcome != Outcome::Running).await.unwrap();
    assert_eq!(calls[1].outcome, Outcome::Cancelled);
    read(begin(&model).await.unwrap()).await;
    counted(&model, (1, 1, 0)).await;
    assert_eq!(standin.connections(), 3);
    standin.stop().await;
    counted(&model, (0, 0, 0)).await;
}
