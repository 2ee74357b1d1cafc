//! The HTTP side: the web client, health pages, and the way to a WebSocket.
//!
//! Lives only until the upgrade: nothing of it stays with a connection.

mod address;
mod assets;
mod health;
mod origin;
mod response;
mod resume_cookie;
mod upgrade;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use boot::admin::Probe;
use boot::{Household, RateLimiter};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::health::Readiness;
pub use self::origin::{Origin, OriginPolicy};
use self::response::{Answer, plain};
pub(crate) use self::upgrade::Granted;
use crate::config::Config;
use crate::metrics::{Metrics, UpgradeRefusal};
use crate::upstream::Upstream;

/// Longest request head.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
/// Longest life of a connection that is not upgraded: a page load over a slow line.
const MAX_LIFE: Duration = Duration::from_secs(120);

/// What the HTTP side serves, shared by all connections.
#[derive(Debug)]
pub(crate) struct Site {
    config: Arc<Config>,
    readiness: Readiness,
    /// Who has connected how often. Pages are not counted.
    connects: RateLimiter<Household>,
    draining: CancellationToken,
    metrics: Arc<Metrics>,
}

/// A connection that has become a WebSocket.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) stream: TcpStream,
    /// Bytes that came right behind the request.
    pub(crate) leftover: Bytes,
    pub(crate) granted: Granted,
}

type AnswerFuture = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

impl Site {
    pub(crate) fn new(
        (config, upstream, metrics): (Arc<Config>, Arc<Upstream>, Arc<Metrics>),
        draining: CancellationToken,
    ) -> Self {
        let readiness = Readiness::new(upstream, draining.clone());
        let connects = RateLimiter::new(config.connects);
        Self { config, readiness, connects, draining, metrics }
    }

    /// Whether any core can be reached.
    pub(crate) fn cores(&self) -> Arc<dyn Probe> {
        self.readiness.cores()
    }

    /// Serves requests on `stream` until one is granted an upgrade; `None` when the connection is done without.
    pub(crate) async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) -> Option<Upgraded> {
        let granted = Arc::new(OnceLock::new());
        let (site, slot) = (Arc::clone(&self), Arc::clone(&granted));
        let service = service_fn(move |request: Request<Incoming>| -> AnswerFuture {
            let (site, slot) = (Arc::clone(&site), Arc::clone(&slot));
            Box::pin(async move { Ok(site.last_if_draining(site.answer(&request, peer, &slot).await)) })
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.handshake_limit)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut draining = pin!(self.draining.cancelled());
        // One that comes while draining may still ask: it is told to close by its answer.
        let mut told = self.draining.is_cancelled();
        let served = poll_fn(|cx| {
            if !told && draining.as_mut().poll(cx).is_ready() {
                Pin::new(&mut connection).graceful_shutdown();
                told = true;
            }
            connection.poll_without_shutdown(cx)
        });
        // An error here is the client's: a broken request or a lost connection.
        timeout(MAX_LIFE, served).await.ok()?.ok()?;
        let parts = connection.into_parts();
        let granted = *granted.get()?;
        Some(Upgraded { stream: parts.io.into_inner(), leftover: parts.read_buf, granted })
    }

    fn last_if_draining(&self, mut answer: Answer) -> Answer {
        if self.draining.is_cancelled() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn answer<B>(&self, request: &Request<B>, peer: SocketAddr, granted: &OnceLock<Granted>) -> Answer {
        let path = request.uri().path();
        let asks_upgrade = upgrade::is_asked(request.headers());
        let believed = self.config.trusted_proxies.contains(peer.ip());
        if path == resume_cookie::PATH {
            return resume_cookie::answer(request, self.config.origins.admits(request.headers(), believed));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return not_allowed();
        }
        match path {
            "/" | "/ws" if asks_upgrade && self.draining.is_cancelled() => {
                self.metrics.upgrade_refused(UpgradeRefusal::Draining);
                upgrade::draining()
            }
            "/" | "/ws" if asks_upgrade => self.upgrade(request, peer, granted),
            "/ws" => upgrade::required(),
            "/healthz" => health::alive(),
            "/readyz" => self.readiness.answer().await,
            path => assets::serve(path, request.headers(), &origin::hosts(request.headers(), believed)),
        }
    }

    fn upgrade<B>(&self, request: &Request<B>, peer: SocketAddr, granted: &OnceLock<Granted>) -> Answer {
        let (grant, answer) = upgrade::answer(request, peer, &self.config);
        let grant = match grant {
            Ok(grant) => grant,
            Err(refusal) => {
                self.metrics.upgrade_refused(refusal);
                return answer;
            }
        };
        let address = grant.person.ip();
        if let Err(wait) = self.connects.take(Household::of(address), Instant::now()) {
            tracing::info!(client.address = %address, "refused an upgrade: too many from this address");
            self.metrics.upgrade_refused(UpgradeRefusal::TooOften);
            return upgrade::too_often(wait);
        }
        granted.get_or_init(|| grant);
        answer
    }
}

fn not_allowed() -> Answer {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}
