use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::*;
use crate::clock::FrozenClock;

/// Keep-alive connection to a stand-in.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    _tasks: TaskTracker,
}

impl Client {
    async fn connect(standin: &LlmStandin) -> Self {
        let stream = TcpStream::connect(standin.address()).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let tasks = TaskTracker::new();
        tasks.spawn(connection);
        Self { sender, _tasks: tasks }
    }

    async fn call(&mut self, text: &str) -> Response<Incoming> {
        self.sender.ready().await.unwrap();
        let body = json!({
            "model": "m", "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": text}],
        });
        let request = hyper::Request::post("/v1/chat/completions")
            .header("host", "standin")
            .header("x-request-id", "Usuario-1:m1")
            .body(Full::from(body.to_string()))
            .unwrap();
        self.sender.send_request(request).await.unwrap()
    }
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn start() -> (LlmStandin, Client) {
    let standin = LlmStandin::start(Options::default()).await.unwrap();
    let client = Client::connect(&standin).await;
    (standin, client)
}

#[tokio::test]
async fn follows_the_script_then_echoes_on_one_connection() {
    let (standin, mut client) = start().await;
    standin.push(Answer::pieces(["ho", "la"]));
    let response = client.call("x").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["transfer-encoding"], "chunked");
    let body = text(response).await;
    assert!(body.contains(r#"{"content":"ho"}"#) && body.ends_with("data: [DONE]\n\n"), "{body}");
    assert!(text(client.call("¿qué tal?").await).await.contains("eco: ¿qué tal?"));

    let requests = standin.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].body()["messages"][1]["content"], "¿qué tal?");
    assert_eq!(requests[1].request_id(), Some("Usuario-1:m1"));
    assert_eq!(requests[1].outcome, Outcome::Finished);
    assert_eq!((standin.total(), standin.in_flight(), standin.most_in_flight()), (2, 0, 1));
    standin.stop().await;
}

#[tokio::test(start_paused = true)]
async fn keeps_its_pace_on_the_paused_clock() {
    let (standin, mut client) = start().await;
    standin.push(Answer::pieces(["a", "b", "c"]).paced(300, 50));
    let before = Instant::now();
    let mut body = client.call("x").await.into_body();
    let mut times = Vec::new();
    while let Some(frame) = body.frame().await {
        let bytes = frame.unwrap().into_data().unwrap();
        if bytes.windows(9).any(|window| window == b"\"content\"") {
            times.push((Instant::now() - before).as_millis());
        }
    }
    assert_eq!(times.len(), 3);
    for (got, want) in times.into_iter().zip([300, 350, 400]) {
        assert!((want..=want + 5).contains(&got), "{got} instead of {want}");
    }
}

#[tokio::test]
async fn holds_answer_until_released() {
    for shown in 0..=3 {
        let (standin, mut client) = start().await;
        let held = standin.push_held(Answer::pieces(["ho", "la"]), shown);
        let mut body = client.call("x").await.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let first = String::from_utf8(first.to_vec()).unwrap();
        assert_eq!(first.matches(r#"{"content":""#).count(), shown.min(2), "{first}");
        assert_eq!(standin.in_flight(), 1);
        drop(held);
        let rest = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
        assert_eq!(rest.matches(r#"{"content":""#).count(), 2 - shown.min(2), "{rest}");
    }
}

#[tokio::test]
async fn errors_carry_retry_after() {
    let (standin, mut client) = start().await;
    standin.push(Answer { retry_after: Some(RetryAfter::Seconds(7)), ..Answer::status(429) });
    let response = client.call("x").await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()["retry-after"], "7");
    assert!(text(response).await.contains("\"error\""));
}

#[tokio::test]
async fn a_cut_delivers_the_pieces_and_breaks() {
    let (standin, mut client) = start().await;
    standin.push(Answer { cut: true, ..Answer::pieces(["ho", "la"]) });
    let mut body = client.call("x").await.into_body();
    let mut seen = Vec::new();
    let broken = loop {
        match body.frame().await {
            Some(Ok(frame)) => seen.extend_from_slice(&frame.into_data().unwrap()),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(broken, "ended as if whole");
    assert!(String::from_utf8(seen).unwrap().contains(r#"{"content":"la"}"#));
}

#[tokio::test(start_paused = true)]
async fn hangs_until_the_client_goes() {
    let _frozen = FrozenClock::freeze();
    for hang in [Hang::Headers, Hang::Stream, Hang::End] {
        let (standin, mut client) = start().await;
        standin.push(Answer::pieces(["a"]).hanging(hang));
        {
            let call = client.call("x");
            match hang {
                Hang::Headers => {
                    let mut call = std::pin::pin!(call);
                    tokio::select! {
                        _ = &mut call => panic!("answered"),
                        running = standin.wait_for(|calls| !calls.is_empty()) => assert_eq!(running.unwrap().len(), 1),
                    }
                }
                Hang::Stream | Hang::End => {
                    let mut body = call.await.into_body();
                    assert!(body.frame().await.unwrap().is_ok());
                    assert_eq!(standin.in_flight(), 1);
                }
            }
        }
        drop(client);
        let calls = standin.wait_for(|calls| calls[0].outcome != Outcome::Running).await.unwrap();
        assert_eq!(calls[0].outcome, Outcome::Cancelled, "{hang:?}");
    }
}

#[tokio::test]
async fn wait_times_out() {
    let (standin, _client) = start().await;
    let expired = watchdog::within(Duration::from_millis(10), standin.wait_for(|calls| !calls.is_empty())).await;
    assert!(expired.is_err());
}

/// For a whole answer and an error: the last byte has come, the end has not.
#[tokio::test(start_paused = true)]
async fn delays_end_of_response() {
    let _frozen = FrozenClock::freeze();
    for (answer, last) in [(Answer::text("hola"), "data: [DONE]\n\n"), (Answer::status(500), "}")] {
        let (standin, mut client) = start().await;
        standin.push(answer.clone().ending_after(70));
        standin.push(answer.hanging(Hang::End));
        let mut body = client.call("x").await.into_body();
        let all = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(all.ends_with(last.as_bytes()), "{all:?}");
        assert_eq!(standin.in_flight(), 1);
        let end = async { tokio::join!(body.frame(), crate::clock::advance(Duration::from_millis(70))).0 };
        assert!(end.await.is_none());
        assert_eq!((standin.in_flight(), standin.connections()), (0, 1));
        let mut body = client.call("x").await.into_body();
        assert!(body.frame().await.is_some());
        drop((body, client));
        let calls = standin.wait_for(|calls| calls[1].outcome != Outcome::Running).await.unwrap();
        assert_eq!(calls[1].outcome, Outcome::Cancelled);
    }
}
