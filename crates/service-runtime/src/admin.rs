//! Admin port of a service: metrics, liveness, readiness.
//!
//! Must not be public: it exposes addresses of databases and providers. Each request uses its own connection, bounded
//! in number, size and time.

mod address;
mod probe;

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

pub use address::{AdminAddress, AdminArgs};
pub use probe::{CachedProbe, DrainingProbe, Probe, ProbeResult, ProbeState};

use crate::accept_backoff::AcceptBackoff;
use crate::metrics::{Process, Registry};

/// Maximum number of concurrent requests; further connections are closed at once.
const MAX_CONNECTIONS: usize = 32;
/// Maximum size of a request head.
const MAX_HEAD_BYTES: usize = 8 * 1_024;
/// Timeout for a request's head.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Timeout for a request and its response.
const LIFE_LIMIT: Duration = Duration::from_secs(15);

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// Admin service: metrics and readiness probes.
pub struct Admin {
    registry: Registry,
    process: Process,
    refresh: Box<dyn Fn() + Send + Sync>,
    probes: Vec<Arc<dyn Probe>>,
    /// Serialises scrapes: one must not read what another is refreshing.
    scraping: Mutex<()>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let probes: Vec<_> = self.probes.iter().map(|probe| probe.name()).collect();
        f.debug_struct("Admin").field("probes", &probes).finish_non_exhaustive()
    }
}

type HttpResponse = Response<Full<Bytes>>;

impl Admin {
    /// Creates the service with `registry` and the metrics of the process. `refresh` is called before each scrape, for
    /// values that are sampled; it may read files but must not block on anything else.
    pub fn new(registry: Registry, refresh: impl Fn() + Send + Sync + 'static) -> Self {
        let process = Process::new(&registry);
        Self { registry, process, refresh: Box::new(refresh), probes: Vec::new(), scraping: Mutex::new(()) }
    }

    /// Adds a readiness probe.
    #[must_use]
    pub fn with(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probes.push(probe);
        self
    }

    /// Serves `listener` for as long as it is polled.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> Infallible {
        let (tasks, mut backoff) = (TaskTracker::new(), AcceptBackoff::default());
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    backoff.reset();
                    if tasks.len() < MAX_CONNECTIONS {
                        tasks.spawn(Arc::clone(&self).connection(stream));
                    }
                }
                Err(error) => {
                    if let Some(pause) = backoff.next_delay(&error) {
                        tracing::warn!(%error, pause_ms = pause.as_millis(), "accept failed on admin port; backing off");
                        sleep(pause).await;
                    }
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(move |request: Request<Incoming>| {
            let admin = Arc::clone(&self);
            async move { Ok::<_, Infallible>(admin.answer(request.method(), request.uri().path()).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .max_buf_size(MAX_HEAD_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // Malformed requests and clients that do not read are dropped.
        let _ = timeout(LIFE_LIMIT, connection).await;
    }

    async fn answer(self: Arc<Self>, method: &Method, path: &str) -> HttpResponse {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut answer = response(StatusCode::METHOD_NOT_ALLOWED, JSON, json!({"status": "only GET and HEAD"}));
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match path {
            "/metrics" => self.metrics().await,
            "/healthz" => response(StatusCode::OK, JSON, json!({"status": "ok"})),
            "/readyz" => self.ready().await,
            _ => response(
                StatusCode::NOT_FOUND,
                JSON,
                json!({"status": "not found", "paths": ["/metrics", "/healthz", "/readyz"]}),
            ),
        }
    }

    async fn metrics(self: Arc<Self>) -> HttpResponse {
        // On the blocking pool: counting the open files of a busy process takes milliseconds.
        let scraped = tokio::task::spawn_blocking(move || {
            let _one_at_a_time = self.scraping.lock().unwrap_or_else(PoisonError::into_inner);
            self.process.refresh();
            (self.refresh)();
            self.registry.text()
        });
        match scraped.await {
            Ok(text) => response(StatusCode::OK, TEXT, text),
            Err(_) => response(StatusCode::INTERNAL_SERVER_ERROR, JSON, json!({"status": "the scrape failed"})),
        }
    }

    async fn ready(&self) -> HttpResponse {
        let checks = join_all(self.probes.iter().map(|probe| probe::check(&**probe))).await;
        let (status, word) = match probe::worst(&checks) {
            ProbeState::Ok => (StatusCode::OK, "ready"),
            ProbeState::Degraded(_) => (StatusCode::OK, "degraded"),
            ProbeState::Down(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        let checks: Vec<_> = checks.iter().map(ProbeResult::to_json).collect();
        response(status, JSON, json!({"status": word, "checks": checks}))
    }
}

fn response(status: StatusCode, content_type: &'static str, body: impl fmt::Display) -> HttpResponse {
    let mut answer = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests;
