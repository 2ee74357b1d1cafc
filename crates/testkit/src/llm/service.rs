//! HTTP server of the stand-in.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::llm::Fallback;
use crate::llm::answer::{Answer, Hang};
use crate::llm::body::AnswerBody;
use crate::llm::call_log::{CallLog, OpenCall};
use crate::llm::wire::{self, Call};

type StandinBody = Either<Full<Bytes>, AnswerBody>;

/// State shared by all connections.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) call_log: Arc<CallLog>,
    /// Number of connections so far.
    connections: AtomicU64,
    queue: Mutex<VecDeque<Scripted>>,
    fallback: Fallback,
    /// The rendered fallback, reused while the relevant request fields stay the same.
    rendered: Mutex<Option<(Call, Vec<Bytes>)>>,
}

/// A scripted answer.
#[derive(Debug)]
pub(super) struct Scripted {
    pub(super) answer: Answer,
    /// Number of pieces sent before the hold, and its release.
    pub(super) held: Option<(usize, CancellationToken)>,
}

/// The request fields that affect the answer.
#[derive(Deserialize)]
struct CompletionRequest {
    #[serde(default)]
    model: String,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    stream_options: StreamOptions,
}

#[derive(Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

impl Shared {
    pub(super) fn new(fallback: Fallback, keep: usize) -> Arc<Self> {
        let (queue, rendered) = (Mutex::default(), Mutex::default());
        Arc::new(Self { call_log: CallLog::new(keep), connections: AtomicU64::new(0), queue, fallback, rendered })
    }

    /// Returns the number of connections so far.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn push(&self, scripted: Scripted) {
        lock(&self.queue).push_back(scripted);
    }

    /// Returns the number of unused scripted answers.
    pub(super) fn queued(&self) -> usize {
        lock(&self.queue).len()
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> Response<StandinBody> {
        if !request.uri().path().ends_with("/chat/completions") {
            return error(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::POST {
            return error(StatusCode::METHOD_NOT_ALLOWED);
        }
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return error(StatusCode::BAD_REQUEST) };
        let body = body.to_bytes();
        let Ok(request) = serde_json::from_slice::<CompletionRequest>(&body) else {
            return error(StatusCode::BAD_REQUEST);
        };
        if !request.stream {
            return error(StatusCode::BAD_REQUEST);
        }
        let open_call = self.call_log.open(head.headers, body.clone());
        let call = Call {
            number: open_call.number,
            model: request.model,
            include_usage: request.stream_options.include_usage,
            prompt_bytes: body.len(),
        };
        self.respond(call, &body, open_call).await
    }

    async fn respond(&self, call: Call, body: &[u8], open_call: OpenCall) -> Response<StandinBody> {
        let scripted = lock(&self.queue).pop_front();
        let answer = match (scripted, &self.fallback) {
            (Some(Scripted { answer, held: Some((shown, released)) }), _) => {
                return carry_out(&answer, wire::render_in_two(&answer, shown, &call), Some(released), open_call).await;
            }
            (None, Fallback::Answer(answer)) => {
                return carry_out(answer, self.rendered(answer, call), None, open_call).await;
            }
            (Some(Scripted { answer, held: None }), _) => answer,
            (None, Fallback::Echo) => Answer::text(format!("eco: {}", last_user_message(body))),
            (None, Fallback::Reply(reply)) => reply(call.number, &last_user_message(body)),
        };
        carry_out(&answer, wire::render(&answer, &call), None, open_call).await
    }

    /// Renders the fallback. Cached for load tests: only the completion's number and the estimated tokens are those of
    /// an earlier call.
    fn rendered(&self, answer: &Answer, call: Call) -> Vec<Bytes> {
        let mut rendered = lock(&self.rendered);
        match &*rendered {
            Some((last, bytes)) if last.model == call.model && last.include_usage == call.include_usage => {
                bytes.clone()
            }
            _ => {
                let bytes = wire::render(answer, &call);
                *rendered = Some((call, bytes.clone()));
                bytes
            }
        }
    }
}

/// Serves until `stop` is cancelled.
pub(super) async fn accept_loop(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Accept errors (no descriptors left, client gone) must not end the stand-in.
                Err(_) => continue,
            },
        };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        tasks.spawn(serve(stream, Arc::clone(&shared), stop.clone()));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, stop: CancellationToken) {
    // A failure only costs latency.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = stop.cancelled() => {}
        // The call log has the outcome.
        _ = connection => {}
    }
}

/// Builds the response to `answer` from its `segments`; the last one is held until `released`.
async fn carry_out(
    answer: &Answer,
    segments: Vec<Bytes>,
    released: Option<CancellationToken>,
    mut open_call: OpenCall,
) -> Response<StandinBody> {
    if answer.hang == Some(Hang::Headers) {
        // Until the client disconnects, which drops this future with its guard.
        future::pending::<()>().await;
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = if status == StatusCode::OK {
        let body = AnswerBody::new(answer, segments, open_call);
        let body = match released {
            Some(released) => body.held(released.cancelled_owned()),
            None => body,
        };
        let mut response = Response::new(Either::Right(body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    } else {
        tokio::time::sleep(Duration::from_millis(answer.first_ms)).await;
        if 0 < answer.end_ms || answer.hang == Some(Hang::End) {
            let body = AnswerBody::new(&Answer { first_ms: 0, ..answer.clone() }, vec![error_body(answer)], open_call);
            error_with(status, Either::Right(body))
        } else {
            open_call.finish();
            error_with(status, Either::Left(Full::new(error_body(answer))))
        }
    };
    let retry_after = answer.retry_after.as_ref().map(|after| HeaderValue::try_from(after.header()));
    if let Some(Ok(value)) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    response
}

/// Returns the body of an error.
fn error_body(answer: &Answer) -> Bytes {
    answer.error.as_ref().map_or_else(|| wire::error_body(answer.status), |error| error.to_string().into())
}

fn error(status: StatusCode) -> Response<StandinBody> {
    error_with(status, Either::Left(Full::new(wire::error_body(status.as_u16()))))
}

fn error_with(status: StatusCode, body: StandinBody) -> Response<StandinBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Returns the last user message; empty if there is none.
fn last_user_message(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let last = messages.iter().rev().find(|message| message["role"] == "user");
    last.and_then(|message| message["content"].as_str()).unwrap_or_default().to_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
