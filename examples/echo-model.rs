//! Echo model: an OpenAI-compatible API that streams the last message back, word by word.
//!
//! ```sh
//! cargo run -p examples --example echo-model -- 127.0.0.1:8081
//! LLM_URL=http://127.0.0.1:8081/v1/chat/completions MODEL_NAME=echo cargo run --bin core-server
//! ```

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// Longest request, in bytes: a core's default context (`LLM_INPUT_TOKEN_BUDGET`) has some 12 KiB.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// Pause between two words, as of a model that generates 50 tokens a second.
const PAUSE: Duration = Duration::from_millis(20);

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the setting for the core is this program's output")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("LLM_URL=http://{}/v1/chat/completions", listener.local_addr()?);
    let tasks = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        tasks.spawn(serve(stream));
    }
}

/// Serves one connection, which a core keeps for many calls.
async fn serve(stream: TcpStream) {
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(
        TokioIo::new(stream),
        service_fn(async |request| Ok::<_, Infallible>(respond(request).await)),
    );
    // A core that stops an answer drops the connection: no failure of this server.
    let _ = connection.await;
}

async fn respond(request: Request<Incoming>) -> Response<Body> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/chat/completions") => match read(request).await {
            Some(completion) => answer(&completion),
            None => {
                response(StatusCode::BAD_REQUEST, "application/json", whole(&json!({"error": {"message": "no chat"}})))
            }
        },
        // A core requests it once when it starts, to check `MODEL_NAME`.
        (&Method::GET, "/v1/models") => {
            let list = json!({"object": "list", "data": [{"id": "echo", "object": "model"}]});
            response(StatusCode::OK, "application/json", whole(&list))
        }
        _ => response(StatusCode::NOT_FOUND, "application/json", whole(&json!({"error": {"message": "not found"}}))),
    }
}

/// Reads the request; `None` if it is too long, cut off or no JSON.
async fn read(request: Request<Incoming>) -> Option<Value> {
    let body = Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect().await.ok()?;
    serde_json::from_slice(&body.to_bytes()).ok()
}

/// Streams the last message, a chunk for each word.
fn answer(completion: &Value) -> Response<Body> {
    let last = completion["messages"].as_array().and_then(|messages| messages.last());
    let text = last.and_then(|message| message["content"].as_str()).unwrap_or_default();
    let words = text.split_inclusive(' ').map(|word| chunk(&json!({"content": word}), None));
    let events = [chunk(&json!({"role": "assistant", "content": ""}), None)]
        .into_iter()
        .chain(words)
        .chain([chunk(&json!({}), Some("stop")), "data: [DONE]\n\n".to_owned()])
        .collect::<Vec<_>>();
    let frames = paced(events).map(|event| Ok(Frame::data(Bytes::from(event))));
    response(StatusCode::OK, "text/event-stream", StreamBody::new(frames).boxed_unsync())
}

/// Formats one server-sent event of a streamed completion.
fn chunk(delta: &Value, finish_reason: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
    let chunk = json!({"id": "echo-1", "object": "chat.completion.chunk", "model": "echo", "choices": [choice]});
    format!("data: {chunk}\n\n")
}

/// Yields the events with a pause before each but the first.
fn paced(events: Vec<String>) -> impl Stream<Item = String> + Send {
    stream::iter(events.into_iter().enumerate()).then(async |(index, event)| {
        if 0 < index {
            tokio::time::sleep(PAUSE).await;
        }
        event
    })
}

fn whole(value: &Value) -> Body {
    Full::new(Bytes::from(value.to_string())).boxed_unsync()
}

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
