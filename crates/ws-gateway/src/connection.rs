//! One client from its first byte to its close reason.

use std::net::SocketAddr;
use std::sync::Arc;

use boot::{Admission, LogThrottle, SocketPermit};
use bytes::Bytes;
use protocol::{CloseReason, hop};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bridge::{self, Client, Core, Terms};
use crate::close::Ending;
use crate::config::Config;
use crate::http::{Granted, Site, Upgraded};
use crate::metrics::Metrics;
use crate::upstream::{Lease, Upstream};

/// The gateway: what all connections share.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) config: Arc<Config>,
    pub(crate) site: Arc<Site>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) upstream: Arc<Upstream>,
    /// Cancelled when the gateway is to end: nothing new is taken.
    pub(crate) leaving: CancellationToken,
    /// Cancelled when connections are to end.
    pub(crate) draining: CancellationToken,
    pub(crate) metrics: Arc<Metrics>,
    /// Of sockets for which there was no room.
    pub(crate) dropped: LogThrottle,
}

impl Gateway {
    /// One with the settings of `config`, until `leaving` is cancelled.
    pub fn new(config: Config, leaving: CancellationToken) -> Arc<Self> {
        let config = Arc::new(config);
        let admission = Admission::new(config.admission());
        let upstream = Upstream::new(&config.cores);
        let metrics = Arc::new(Metrics::new());
        let site = Site::new(
            (Arc::clone(&config), Arc::clone(&admission)),
            (Arc::clone(&upstream), Arc::clone(&metrics)),
            leaving.clone(),
        );
        let (site, draining, dropped) = (Arc::new(site), CancellationToken::new(), LogThrottle::default());
        Arc::new(Self { config, site, admission, upstream, leaving, draining, metrics, dropped })
    }

    /// Serves one accepted connection to its end.
    pub(crate) async fn connection(
        self: Arc<Self>,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        mut permit: SocketPermit,
    ) {
        // Each phase has a box of its own: what it needs is gone when the next begins, and
        // the task that stays for hours is no larger than the bridge.
        let Ok(stream) = TcpStream::from_std(stream) else { return };
        if let Some(upgraded) = Box::pin(Arc::clone(&self.site).serve(stream, peer)).await {
            permit.settle();
            self.websocket(upgraded).await;
        }
    }

    async fn websocket(&self, upgraded: Upgraded) {
        let Upgraded { stream, leftover, granted } = upgraded;
        let opened = Instant::now();
        let destination = stream.local_addr();
        log_open(&granted);
        let mut counted = self.metrics.open_connection();
        let mut client = Client::new(stream, granted.face);
        let ending = match (self.admission.seat(granted.person.ip()), destination) {
            (None, _) => CloseReason::TooManyConnections.into(),
            (_, Err(_)) => CloseReason::ClientGone.into(),
            (Some(_seat), Ok(destination)) => match Box::pin(self.dial(&granted, destination)).await {
                Err(ending) => ending,
                Ok((mut core, lease)) => {
                    let ending = self.carry(&mut client, &mut core, leftover, lease).await;
                    Box::pin(bridge::hang_up(&mut core.pipe)).await;
                    ending
                }
            },
        };
        Box::pin(bridge::say_farewell(&mut client, ending)).await;
        counted.closing(ending);
        log_close(&granted, ending, opened);
    }

    /// A core, with the header that says for whom.
    async fn dial(&self, granted: &Granted, destination: SocketAddr) -> Result<(Core<TcpStream>, Lease), Ending> {
        let begin = Instant::now();
        let (stream, lease) = self.upstream.connect(self.config.connect_limit).await.map_err(|error| {
            tracing::warn!(trace_id = %granted.trace.trace_id, error = %error, "core unreachable");
            Ending::CoreUnreachable
        })?;
        self.metrics.core_connect.observe(begin.elapsed().as_secs_f64());
        let header = hop::encode(granted.person, destination, granted.trace, granted.face);
        Ok((Core::new(stream, &header, granted.trace), lease))
    }

    /// Carries messages until the connection ends, and learns from that how the core is.
    async fn carry(
        &self,
        client: &mut Client<TcpStream>,
        core: &mut Core<TcpStream>,
        leftover: Bytes,
        mut lease: Lease,
    ) -> Ending {
        let connected = Instant::now();
        let terms = Terms { patience: self.config.patience, drain: &self.draining };
        let ending = bridge::run(client, core, leftover, terms, &mut lease).await;
        if ending == Ending::CoreLost && connected.elapsed() < Lease::PROBATION {
            lease.failed(&ending);
        }
        ending
    }
}

fn log_open(granted: &Granted) {
    tracing::info!(
        trace_id = %granted.trace.trace_id,
        client.address = %granted.person.ip(),
        client.face = %granted.face,
        "connection opened"
    );
}

fn log_close(granted: &Granted, ending: Ending, opened: Instant) {
    let duration_ms = opened.elapsed().as_millis();
    tracing::info!(
        trace_id = %granted.trace.trace_id,
        close.reason = ending.name(),
        close.code = ending.code(),
        duration_ms,
        "connection closed"
    );
}
