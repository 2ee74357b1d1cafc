//! Stand-in for the second opinion: an HTTP server with the OpenAI API's moderations, embeddings and non-streamed chat
//! completions, with fault injection.

use std::convert::Infallible;
use std::future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Length of the embeddings.
const DIMENSIONS: usize = 128;

/// Returns the level of a text: `none`, `concern`, `high`.
pub type LevelClassifier = fn(&str) -> &'static str;

/// Injected fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Responds with an error status.
    Status(u16),
    /// Never responds.
    Hang,
    /// Delays the response.
    Slow(Duration),
    /// Responds with JSON of another schema.
    Foreign,
    /// Responds with invalid JSON.
    Garbage,
    /// Responds with 32 MiB.
    Huge,
}

/// A received call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Path of the request.
    pub path: String,
    /// Value of its `Authorization` header.
    pub authorization: Option<String>,
    /// Body of the request.
    pub body: Value,
}

/// A running stand-in, stopped on drop.
#[derive(Debug)]
pub struct GuardStandin {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    judge: LevelClassifier,
    fault: Mutex<Option<Fault>>,
    calls: Mutex<Vec<Call>>,
}

impl GuardStandin {
    /// Starts a stand-in on the current runtime. Embeddings are computed from the words of a text, other opinions by
    /// `judge`.
    ///
    /// # Errors
    ///
    /// No port can be bound.
    pub async fn start(judge: LevelClassifier) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { judge, fault: Mutex::default(), calls: Mutex::default() });
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(accept_loop(listener, Arc::clone(&shared), stop.clone(), tasks.clone()));
        Ok(Self { address, shared, _stop: stop.drop_guard() })
    }

    /// Returns the URL of `endpoint`, such as `moderations`.
    pub fn url(&self, endpoint: &str) -> String {
        format!("http://{}/v1/{endpoint}", self.address)
    }

    /// Injects a fault, or stops doing so.
    pub fn set_fault(&self, fault: Option<Fault>) {
        *lock(&self.shared.fault) = fault;
    }

    /// Returns the calls so far.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).clone()
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let authorization =
            request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        lock(&self.calls).push(Call { path: path.clone(), authorization, body: body.clone() });
        let fault = *lock(&self.fault);
        match fault {
            None => {}
            Some(Fault::Slow(time)) => sleep(time).await,
            Some(Fault::Hang) => future::pending().await,
            Some(Fault::Status(status)) => {
                let mut response = Response::new(Full::from("{}"));
                *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                return response;
            }
            Some(Fault::Foreign) => return Response::new(Full::from("{\"object\":\"other\"}")),
            Some(Fault::Garbage) => return Response::new(Full::from("<html>")),
            Some(Fault::Huge) => return Response::new(Full::from(vec![b' '; 32 << 20])),
        }
        Response::new(Full::from(self.opinion(&path, &body).to_string()))
    }

    fn opinion(&self, path: &str, body: &Value) -> Value {
        if path.ends_with("/moderations") {
            let level = (self.judge)(body["input"].as_str().unwrap_or_default());
            let (wish, intent) = (level != "none", level == "high");
            json!({"results": [{"flagged": wish, "categories": {"self-harm": wish, "self-harm/intent": intent}}]})
        } else if path.ends_with("/embeddings") {
            let texts = body["input"].as_array().map(Vec::as_slice).unwrap_or_default();
            let embeddings = texts.iter().enumerate().map(|(index, text)| {
                json!({"object": "embedding", "index": index, "embedding": embedding(text.as_str().unwrap_or_default())})
            });
            json!({"object": "list", "data": embeddings.collect::<Vec<_>>()})
        } else {
            let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
            let said = messages.last().and_then(|message| message["content"].as_str()).unwrap_or_default();
            json!({"choices": [{"message": {"role": "assistant", "content": (self.judge)(said)}}]})
        }
    }
}

/// Bag-of-words embedding: hashed word counts, so that texts with common words are similar.
fn embedding(text: &str) -> Vec<f32> {
    let mut counts = vec![0.0; DIMENSIONS];
    for word in text.to_lowercase().split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let mut hasher = DefaultHasher::new();
        word.hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % DIMENSIONS as u64).unwrap_or_default();
        counts[at] += 1.0;
    }
    counts
}

async fn accept_loop(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken, tasks: TaskTracker) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        if let Ok((stream, _)) = accepted {
            let served = serve(stream, Arc::clone(&shared));
            tasks.spawn(stop.clone().run_until_cancelled_owned(served));
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    // The client sees the outcome.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
