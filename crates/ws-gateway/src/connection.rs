//! Lifecycle of one client connection, from accept to close.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use limits::{Admission, SocketPermit};
use protocol::{CloseReason, proxy_header};
use service_runtime::LogThrottle;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bridge::{self, BridgeSettings, Client, ClientSide, Core, LinesClient};
use crate::close::CloseCause;
use crate::config::Config;
use crate::http::{AcceptedClient, HttpService, HttpSettings, LinesExchange, Upgraded};
use crate::metrics::Metrics;
use crate::upstream::{EndpointGuard, Upstream};

/// The gateway's state, shared by all connections.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) config: Arc<Config>,
    pub(crate) http_service: Arc<HttpService>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) upstream: Arc<Upstream>,
    /// Cancelled at shutdown: no new connections or upgrades.
    pub(crate) shutdown: CancellationToken,
    /// Cancelled when open connections must close.
    pub(crate) close_connections: CancellationToken,
    pub(crate) metrics: Arc<Metrics>,
    /// Limits log lines about sockets dropped at capacity.
    pub(crate) dropped: LogThrottle,
}

impl Gateway {
    /// Creates a gateway that serves until `shutdown` is cancelled.
    pub fn new(config: Config, shutdown: CancellationToken) -> Arc<Self> {
        let config = Arc::new(config);
        let admission = Admission::new(config.admission());
        let upstream = Upstream::new(&config.cores);
        let metrics = Arc::new(Metrics::new());
        let http_service = HttpService::new(
            HttpSettings {
                origins: config.origins.clone(),
                trusted_proxies: config.trusted_proxies.clone(),
                handshake_limit: config.handshake_limit,
                facts: config.facts.clone(),
                exit_url: config.exit_url.clone(),
            },
            Arc::clone(&admission),
            Arc::clone(&upstream),
            Arc::clone(&metrics),
            shutdown.clone(),
        );
        let (http_service, close_connections, dropped) =
            (Arc::new(http_service), CancellationToken::new(), LogThrottle::default());
        Arc::new(Self { config, http_service, admission, upstream, shutdown, close_connections, metrics, dropped })
    }

    /// Serves one accepted connection until it closes.
    pub(crate) async fn connection(
        self: Arc<Self>,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        mut permit: SocketPermit,
    ) {
        // One box per phase: each phase's state is freed before the next starts, so the task of an idle connection is
        // no larger than the bridge.
        let Ok(stream) = TcpStream::from_std(stream) else { return };
        let gateway = Arc::clone(&self);
        let relay_lines = move |exchange| Arc::clone(&gateway).lines(exchange);
        if let Some(upgraded) = Box::pin(Arc::clone(&self.http_service).serve(stream, peer, relay_lines)).await {
            permit.finish_handshake();
            self.websocket(upgraded).await;
        }
    }

    async fn websocket(&self, upgraded: Upgraded) {
        let Upgraded { stream, leftover, accepted } = upgraded;
        let opened = Instant::now();
        let destination = stream.local_addr();
        log_open(&accepted);
        let mut counted = self.metrics.open_connection();
        let mut client = Client::new(stream, accepted.face);
        let cause = match (self.admission.acquire_connection(accepted.client.ip()), destination) {
            (None, _) => CloseReason::TooManyConnections.into(),
            (_, Err(_)) => CloseReason::ClientGone.into(),
            (Some(_permit), Ok(destination)) => {
                let route = Route { accepted: &accepted, destination };
                self.relay(route, &mut client, leftover).await
            }
        };
        Box::pin(bridge::close_handshake(&mut client, cause)).await;
        counted.closing(cause);
        log_close(&accepted, cause, opened);
    }

    /// Carries the lines of one HTTP exchange, and ends it with the line that names the cause.
    async fn lines(self: Arc<Self>, exchange: LinesExchange) {
        let LinesExchange { accepted, destination, stream, format, listens, gone } = exchange;
        let opened = Instant::now();
        log_open(&accepted);
        let mut counted = self.metrics.open_connection();
        let mut client = LinesClient::new(stream, format, listens);
        let cause = match self.admission.acquire_connection(accepted.client.ip()) {
            None => CloseReason::TooManyConnections.into(),
            Some(_permit) => tokio::select! {
                cause = self.relay(Route { accepted: &accepted, destination }, &mut client, Bytes::new()) => cause,
                () = gone.cancelled() => CloseReason::ClientGone.into(),
            },
        };
        client.close(cause);
        bridge::shutdown_write(&mut client.pipe).await;
        counted.closing(cause);
        log_close(&accepted, cause, opened);
    }

    /// Carries messages between the client and a core. Reconnects once if the core got the PROXY header late, and has
    /// read nothing else: the client notices nothing.
    async fn relay(&self, route: Route<'_>, client: &mut impl ClientSide, leftover: Bytes) -> CloseCause {
        let mut may_reconnect = true;
        let (mut core, endpoint) = match Box::pin(self.dial(route, &mut may_reconnect)).await {
            Ok(connected) => connected,
            Err(cause) => return cause,
        };
        let cause = self.carry(client, &mut core, leftover, endpoint).await;
        Box::pin(bridge::shutdown_write(&mut core.pipe)).await;
        if cause != CloseReason::LateHeader.into() || !may_reconnect {
            return cause;
        }
        match core.into_unanswered() {
            // Boxed: most connections need one core only.
            Some(lines) => Box::pin(self.relay_again(route, client, lines)).await,
            None => cause,
        }
    }

    /// Carries messages over a second connection, which gets the `lines` that the first core has not read.
    async fn relay_again(&self, route: Route<'_>, client: &mut impl ClientSide, lines: BytesMut) -> CloseCause {
        log_reconnect(route);
        let (mut core, endpoint) = match self.dial(route, &mut false).await {
            Ok(connected) => connected,
            Err(cause) => return cause,
        };
        core.forward_again(lines);
        let cause = self.carry(client, &mut core, Bytes::new(), endpoint).await;
        bridge::shutdown_write(&mut core.pipe).await;
        cause
    }

    /// Connects to a core and queues the PROXY header that carries the client's address. Reconnects if the header would
    /// come late for certain and it `may_reconnect`, which is false after that.
    async fn dial(
        &self,
        route: Route<'_>,
        may_reconnect: &mut bool,
    ) -> Result<(Core<TcpStream>, EndpointGuard), CloseCause> {
        let Route { accepted, destination } = route;
        loop {
            let begin = Instant::now();
            let (stream, endpoint) = self.upstream.connect(self.config.connect_limit).await.map_err(|error| {
                accepted.in_span(|| tracing::warn!(error = %error, "core unreachable"));
                CloseCause::CoreUnreachable
            })?;
            self.metrics.core_connect.observe(begin.elapsed().as_secs_f64());
            if !has_spoken(&stream) {
                let header = proxy_header::encode(accepted.client, destination, accepted.trace, accepted.face);
                return Ok((Core::new(stream, &header, accepted.trace, accepted.face), endpoint));
            }
            if !std::mem::take(may_reconnect) {
                return Err(CloseReason::LateHeader.into());
            }
            log_reconnect(route);
        }
    }

    /// Runs the bridge, then reports a connection lost during probation as a failure of the core.
    async fn carry(
        &self,
        client: &mut impl ClientSide,
        core: &mut Core<TcpStream>,
        leftover: Bytes,
        mut endpoint: EndpointGuard,
    ) -> CloseCause {
        let connected = Instant::now();
        let settings = BridgeSettings { keepalive: self.config.keepalive, drain: &self.close_connections };
        let cause = bridge::run(client, core, leftover, settings, &mut endpoint).await;
        if cause == CloseCause::CoreLost && connected.elapsed() < EndpointGuard::PROBATION {
            endpoint.mark_failed(&cause);
        }
        cause
    }
}

/// Two ends of a connection to a core.
#[derive(Debug, Clone, Copy)]
struct Route<'a> {
    accepted: &'a AcceptedClient,
    /// Address at which the client arrived.
    destination: SocketAddr,
}

/// Returns true if the core has sent bytes before the header: it has greeted a person, and the header comes late for
/// certain. Passed on, the greeting would look like the client's own.
fn has_spoken(stream: &TcpStream) -> bool {
    // A system call of its own: the runtime may not have seen yet that the socket is readable.
    SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]).is_ok_and(|bytes| 0 < bytes)
}

fn log_open(accepted: &AcceptedClient) {
    accepted.in_span(|| {
        tracing::info!(
            client.address = %accepted.client.ip(),
            client.face = %accepted.face,
            "connection opened"
        );
    });
}

fn log_reconnect(route: Route<'_>) {
    route.accepted.in_span(|| tracing::info!("late PROXY header; reconnecting to a core"));
}

fn log_close(accepted: &AcceptedClient, cause: CloseCause, opened: Instant) {
    let duration_ms = opened.elapsed().as_millis();
    accepted.in_span(|| {
        tracing::info!(close.reason = cause.name(), close.code = cause.code(), duration_ms, "connection closed");
    });
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn core_that_spoke_first_is_detected() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut core, _) = listener.accept().await.unwrap();
        assert!(!has_spoken(&stream));
        core.write_all(b"Usuario-1 conectado.\n").await.unwrap();
        stream.readable().await.unwrap();
        assert!(has_spoken(&stream) && has_spoken(&stream), "the bytes stay");
        drop(stream);

        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        drop(listener.accept().await.unwrap());
        stream.readable().await.unwrap();
        assert!(!has_spoken(&stream), "a closed core is a lost one");
    }
}
