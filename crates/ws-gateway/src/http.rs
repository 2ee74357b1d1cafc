//! HTTP service: the web client, health pages, and the WebSocket upgrade.
//!
//! Its state is freed at the upgrade; a WebSocket keeps none of it.

mod assets;
mod forwarded;
mod guides;
mod health;
mod response;
mod resume_cookie;
mod upgrade;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use limits::{Admission, TrustedProxies};
use safety::guide::Facts;
use service_runtime::LogThrottle;
use service_runtime::admin::Probe;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::health::Readiness;
use self::response::{HttpResponse, plain};
pub(crate) use self::upgrade::AcceptedUpgrade;
use crate::metrics::{Metrics, UpgradeRejection};
use crate::origin::{self, OriginPolicy};
use crate::upstream::Upstream;

/// Maximum size of a request head.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
/// Lifetime of a connection that is not upgraded; after it no further request is read.
const MAX_HTTP_LIFETIME: Duration = Duration::from_secs(110);
/// Additional time for a response in progress: a page load over a slow line.
const FINAL_RESPONSE_GRACE: Duration = Duration::from_secs(10);

/// Timeout of a health check served beyond the connection limit.
const HEALTH_CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Settings of the HTTP service.
#[derive(Debug)]
pub(crate) struct HttpSettings {
    /// Origins that may open a WebSocket.
    pub(crate) origins: OriginPolicy,
    /// Proxies whose forwarded client address and host are trusted.
    pub(crate) trusted_proxies: TrustedProxies,
    /// Timeout for a request's head.
    pub(crate) handshake_limit: Duration,
    /// Facts about the service shown on its pages.
    pub(crate) facts: Facts,
}

/// HTTP service shared by all connections.
#[derive(Debug)]
pub(crate) struct HttpService {
    settings: HttpSettings,
    readiness: Readiness,
    /// Counts upgrades only: page requests are not rate-limited.
    admission: Arc<Admission>,
    shutdown: CancellationToken,
    metrics: Arc<Metrics>,
    rejections: LogThrottle,
}

/// A connection after its WebSocket upgrade.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) stream: TcpStream,
    /// Bytes received after the upgrade request.
    pub(crate) leftover: Bytes,
    pub(crate) accepted: AcceptedUpgrade,
}

type ResponseFuture = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>> + Send>>;

impl HttpService {
    pub(crate) fn new(
        settings: HttpSettings,
        admission: Arc<Admission>,
        upstream: Arc<Upstream>,
        metrics: Arc<Metrics>,
        shutdown: CancellationToken,
    ) -> Self {
        let readiness = Readiness::new(upstream, shutdown.clone());
        Self { settings, readiness, admission, shutdown, metrics, rejections: LogThrottle::default() }
    }

    /// Returns the probe of the cores for the admin port.
    pub(crate) fn cores(&self) -> Arc<dyn Probe> {
        self.readiness.cores()
    }

    /// Serves requests on `stream` until an upgrade is accepted; `None` if the connection ends without one.
    pub(crate) async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) -> Option<Upgraded> {
        let accepted = Arc::new(OnceLock::new());
        let (http_service, slot) = (Arc::clone(&self), Arc::clone(&accepted));
        let service = service_fn(move |request: Request<Incoming>| -> ResponseFuture {
            let (http_service, slot) = (Arc::clone(&http_service), Arc::clone(&slot));
            Box::pin(
                async move { Ok(http_service.close_if_draining(http_service.answer(&request, peer, &slot).await)) },
            )
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.settings.handshake_limit)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut shutdown = pin!(self.shutdown.cancelled());
        // A connection accepted during shutdown may still send one request; its response carries `Connection: close`.
        let mut last = self.shutdown.is_cancelled();
        let mut limit = pin!(sleep(MAX_HTTP_LIFETIME));
        let served = poll_fn(|cx| {
            if !last && (shutdown.as_mut().poll(cx).is_ready() || limit.as_mut().poll(cx).is_ready()) {
                // Finishes the response in progress, then closes.
                Pin::new(&mut connection).graceful_shutdown();
                last = true;
            }
            connection.poll_without_shutdown(cx)
        });
        // Errors are the client's: a malformed request or a lost connection.
        timeout(MAX_HTTP_LIFETIME + FINAL_RESPONSE_GRACE, served).await.ok()?.ok()?;
        let parts = connection.into_parts();
        let accepted = *accepted.get()?;
        Some(Upgraded { stream: parts.io.into_inner(), leftover: parts.read_buf, accepted })
    }

    fn close_if_draining(&self, mut answer: HttpResponse) -> HttpResponse {
        if self.shutdown.is_cancelled() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    async fn answer<B>(
        &self,
        request: &Request<B>,
        peer: SocketAddr,
        accepted: &OnceLock<AcceptedUpgrade>,
    ) -> HttpResponse {
        let path = request.uri().path();
        let asks_upgrade = upgrade::is_requested(request.headers());
        let peer_trusted = self.settings.trusted_proxies.contains(peer.ip());
        if path == resume_cookie::PATH {
            return resume_cookie::answer(request, self.settings.origins.admits(request.headers(), peer_trusted));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return method_not_allowed();
        }
        match path {
            "/" | "/ws" if asks_upgrade && self.shutdown.is_cancelled() => {
                self.reject(UpgradeRejection::Draining);
                upgrade::draining()
            }
            "/" | "/ws" if asks_upgrade => self.upgrade(request, peer, accepted),
            "/ws" => upgrade::required(),
            "/healthz" => health::alive(),
            "/readyz" => self.readiness.answer().await,
            path => {
                let hosts = origin::hosts(request.headers(), peer_trusted);
                let guide = guides::serve(request.uri(), request.headers(), &self.settings.facts);
                match guide {
                    Some(guide) => assets::with_page_headers(guide, &hosts),
                    None => assets::serve(path, request.headers(), &hosts),
                }
            }
        }
    }

    fn upgrade<B>(&self, request: &Request<B>, peer: SocketAddr, accepted: &OnceLock<AcceptedUpgrade>) -> HttpResponse {
        let (upgrade, answer) = upgrade::answer(request, peer, &self.settings);
        let upgrade = match upgrade {
            Ok(upgrade) => upgrade,
            Err(reason) => {
                self.reject(reason);
                return answer;
            }
        };
        if let Err(wait) = self.admission.connect(upgrade.client.ip(), Instant::now()) {
            self.reject(UpgradeRejection::RateLimited);
            return upgrade::rate_limited(wait);
        }
        accepted.get_or_init(|| upgrade);
        answer
    }

    /// Counts and logs a rejected upgrade. Throttled: a flood of requests must not flood the log.
    fn reject(&self, reason: UpgradeRejection) {
        self.metrics.upgrade_rejected(reason);
        if let Some(suppressed) = self.rejections.admit(Instant::now()) {
            tracing::info!(reason = reason.name(), suppressed, "upgrade rejected");
        }
    }

    /// Answers one health check on a socket accepted beyond the connection limit; any other request is dropped.
    pub(crate) async fn check(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(move |request: Request<Incoming>| {
            let http_service = Arc::clone(&self);
            async move {
                let ends = request.version() == Version::HTTP_10
                    || request.headers().get(CONNECTION).is_some_and(|value| value == "close");
                match request.uri().path() {
                    "/healthz" if ends => Ok(health::alive()),
                    "/readyz" if ends => Ok(http_service.readiness.answer().await),
                    _ => Err(AtCapacity),
                }
            }
        });
        let serve = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        // Errors are the peer's, or `AtCapacity`.
        let _dropped = timeout(HEALTH_CHECK_TIMEOUT, serve).await;
    }
}

/// Ends a connection beyond the limit whose request is no health check.
#[derive(Debug, thiserror::Error)]
#[error("no room")]
struct AtCapacity;

fn method_not_allowed() -> HttpResponse {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}
