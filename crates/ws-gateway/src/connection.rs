//! Lifecycle of one client connection, from accept to close.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use limits::{Admission, SocketPermit};
use protocol::{CloseReason, proxy_header};
use service_runtime::LogThrottle;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bridge::{self, BridgeSettings, Client, Core};
use crate::close::CloseCause;
use crate::config::Config;
use crate::http::{AcceptedUpgrade, HttpService, HttpSettings, Upgraded};
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
        if let Some(upgraded) = Box::pin(Arc::clone(&self.http_service).serve(stream, peer)).await {
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
            (Some(_permit), Ok(destination)) => match Box::pin(self.dial(&accepted, destination)).await {
                Err(cause) => cause,
                Ok((mut core, endpoint)) => {
                    let cause = self.carry(&mut client, &mut core, leftover, endpoint).await;
                    Box::pin(bridge::shutdown_write(&mut core.pipe)).await;
                    cause
                }
            },
        };
        Box::pin(bridge::close_handshake(&mut client, cause)).await;
        counted.closing(cause);
        log_close(&accepted, cause, opened);
    }

    /// Connects to a core and queues the PROXY header that carries the client's address.
    async fn dial(
        &self,
        accepted: &AcceptedUpgrade,
        destination: SocketAddr,
    ) -> Result<(Core<TcpStream>, EndpointGuard), CloseCause> {
        let begin = Instant::now();
        let (stream, endpoint) = self.upstream.connect(self.config.connect_limit).await.map_err(|error| {
            tracing::warn!(trace_id = %accepted.trace.trace_id, error = %error, "core unreachable");
            CloseCause::CoreUnreachable
        })?;
        self.metrics.core_connect.observe(begin.elapsed().as_secs_f64());
        let header = proxy_header::encode(accepted.client, destination, accepted.trace, accepted.face);
        Ok((Core::new(stream, &header, accepted.trace), endpoint))
    }

    /// Runs the bridge, then reports a connection lost during probation as a failure of the core.
    async fn carry(
        &self,
        client: &mut Client<TcpStream>,
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

fn log_open(accepted: &AcceptedUpgrade) {
    tracing::info!(
        trace_id = %accepted.trace.trace_id,
        client.address = %accepted.client.ip(),
        client.face = %accepted.face,
        "connection opened"
    );
}

fn log_close(accepted: &AcceptedUpgrade, cause: CloseCause, opened: Instant) {
    let duration_ms = opened.elapsed().as_millis();
    tracing::info!(
        trace_id = %accepted.trace.trace_id,
        close.reason = cause.name(),
        close.code = cause.code(),
        duration_ms,
        "connection closed"
    );
}
