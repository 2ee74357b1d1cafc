//! HTTP service: the web client, health pages, and the WebSocket upgrade.
//!
//! Its state is freed at the upgrade; a WebSocket keeps none of it.

mod assets;
mod document;
mod file;
mod forwarded;
mod guides;
mod health;
mod help_page;
mod leave;
mod lines;
mod negotiation;
mod policy;
mod response;
mod resume_cookie;
mod upgrade;
mod web;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, HeaderMap, HeaderValue, STRICT_TRANSPORT_SECURITY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use limits::{Admission, TrustedProxies};
use safety::guide::Facts;
use service_runtime::LogThrottle;
use service_runtime::admin::Probe;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::assets::WebClient;
use self::health::Readiness;
pub(crate) use self::lines::LinesExchange;
use self::lines::RequestLines;
use self::response::{HttpResponse, plain};
pub(crate) use self::upgrade::AcceptedClient;
use crate::metrics::{Metrics, UpgradeRejection};
use crate::origin::{self, OriginPolicy};
use crate::upstream::Upstream;

/// Maximum size of a request head.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
/// Lifetime of a connection that is not upgraded; after it no further request is read. An exchange of lines that is open
/// then goes on.
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
    /// Page that the quick exit leads to.
    pub(crate) exit_url: String,
}

/// HTTP service shared by all connections.
#[derive(Debug)]
pub(crate) struct HttpService {
    settings: HttpSettings,
    web_client: WebClient,
    /// The exit's address as a header.
    exit_url: HeaderValue,
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
    pub(crate) accepted: AcceptedClient,
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
        let web_client = WebClient::new(&settings.exit_url);
        let exit_url = HeaderValue::try_from(&settings.exit_url).expect("an address is a header");
        Self {
            settings,
            web_client,
            exit_url,
            readiness,
            admission,
            shutdown,
            metrics,
            rejections: LogThrottle::default(),
        }
    }

    /// Returns the probe of the cores for the admin port.
    pub(crate) fn cores(&self) -> Arc<dyn Probe> {
        self.readiness.cores()
    }

    /// Serves requests on `stream` until an upgrade is accepted; `None` if the connection ends without one. An exchange
    /// of lines is carried by `relay_lines`.
    pub(crate) async fn serve<R, F>(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        relay_lines: R,
    ) -> Option<Upgraded>
    where
        R: Fn(LinesExchange) -> F + Send + Sync + Unpin + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let own = stream.local_addr().ok()?;
        let (accepted, exchanges) = (Arc::new(OnceLock::new()), TaskTracker::new());
        let (http_service, slot, tasks) = (Arc::clone(&self), Arc::clone(&accepted), exchanges.clone());
        let service = service_fn(move |request: Request<Incoming>| -> ResponseFuture {
            let (http_service, slot) = (Arc::clone(&http_service), Arc::clone(&slot));
            if lines::is_at(request.uri().path()) {
                let answer = match http_service.open_lines(request, (peer, own)) {
                    Ok((exchange, request_lines, answer)) => {
                        tasks.spawn(carry(relay_lines(exchange), request_lines));
                        answer
                    }
                    Err(answer) => *answer,
                };
                return Box::pin(std::future::ready(Ok(http_service.close_if_draining(answer))));
            }
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
        // An exchange that is open then ends by its own limits.
        let overdue = async {
            sleep(MAX_HTTP_LIFETIME).await;
            exchanges.close();
            exchanges.wait().await;
            sleep(FINAL_RESPONSE_GRACE).await;
        };
        // Errors are the client's: a malformed request or a lost connection.
        tokio::select! {
            served = served => served.ok()?,
            () = overdue => return None,
        }
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
        accepted: &OnceLock<AcceptedClient>,
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
            path if leave::is_at(path) => leave::answer(request.headers(), &self.exit_url),
            _ => self.page(request.uri(), request.headers(), peer_trusted),
        }
    }

    /// Opens an exchange of lines, or rejects it as an upgrade.
    fn open_lines(
        &self,
        request: Request<Incoming>,
        ends: (SocketAddr, SocketAddr),
    ) -> Result<(LinesExchange, RequestLines, HttpResponse), Box<HttpResponse>> {
        if self.shutdown.is_cancelled() {
            self.reject(UpgradeRejection::Draining);
            return Err(Box::new(upgrade::draining()));
        }
        let peer_trusted = self.settings.trusted_proxies.contains(ends.0.ip());
        let is_own_origin = self.settings.origins.admits(request.headers(), peer_trusted);
        let format = lines::check(request.method(), request.headers(), is_own_origin).map_err(|rejected| {
            let (reason, answer) = *rejected;
            self.reject(reason);
            Box::new(answer)
        })?;
        let (exchange, request_lines, answer) = lines::open(request, ends, format, &self.settings);
        if let Err(wait) = self.admission.connect(exchange.accepted.client.ip(), Instant::now()) {
            self.reject(UpgradeRejection::RateLimited);
            return Err(Box::new(upgrade::rate_limited(wait)));
        }
        Ok((exchange, request_lines, answer))
    }

    fn page(&self, uri: &Uri, headers: &HeaderMap, peer_trusted: bool) -> HttpResponse {
        let guide = || guides::serve(uri, headers, &self.settings.facts);
        let page = || self.web_client.serve(uri, headers, &origin::hosts(headers, peer_trusted));
        let mut answer = help_page::serve(uri, headers).or_else(guide).unwrap_or_else(page);
        if peer_trusted && forwarded::came_over_tls(headers) {
            answer.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        }
        answer
    }

    fn upgrade<B>(&self, request: &Request<B>, peer: SocketAddr, accepted: &OnceLock<AcceptedClient>) -> HttpResponse {
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

/// Carries an exchange to its end; its request may end before.
async fn carry(relay: impl Future<Output = ()>, request_lines: RequestLines) {
    let request = async {
        request_lines.carry().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = relay => {}
        () = request => {}
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
