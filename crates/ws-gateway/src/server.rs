//! Accept loop and graceful shutdown.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use limits::{SocketPermit, SocketRejection};
use service_runtime::AcceptBackoff;
use service_runtime::admin::{Admin, DrainingProbe};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connection::Gateway;
use crate::workers::Workers;

/// Delay between failing readiness and closing connections: balancers must notice first, or they route the clients that
/// reconnect back here. HAProxy's check (`deploy/balancer`) takes about 1.5 s.
const DRAIN_NOTICE: Duration = Duration::from_secs(2);
/// Upper bound of the notice as a fraction of the drain time.
const DRAIN_NOTICE_SHARE: u32 = 4;
/// Kernel send buffer of a client, in bytes; the kernel asks for more data when a third is free. The gateway cannot
/// tell bytes in this buffer from bytes that the client does not read, so a larger buffer delays the detection of slow
/// consumers, and pings.
const SEND_BUFFER_BYTES: usize = 64 * 1_024;
/// Health checks served concurrently beyond the connection limit. The oldest is evicted by the next: a real check sends
/// its request at once.
const MAX_OVERFLOW_CHECKS: usize = 8;

/// Binding the gateway's port failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {host}:{port} (WS_HOST, WS_PORT): {source}")]
pub struct BindError {
    host: String,
    port: u16,
    source: io::Error,
}

/// Result of a graceful shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections still open when the drain time was over.
    pub remaining: usize,
}

/// Binds the configured address and port.
///
/// # Errors
///
/// The port is in use, the address is not local, or the host name does not resolve.
pub async fn bind(config: &Config) -> Result<TcpListener, BindError> {
    let bound = TcpListener::bind((config.host.as_str(), config.port)).await;
    bound.map_err(|source| BindError { host: config.host.clone(), port: config.port, source })
}

impl Gateway {
    /// Serves `listener` until shutdown is requested and connections have closed, or the drain time is over.
    ///
    /// Readiness fails first and upgrades are rejected; after `DRAIN_NOTICE` connections are closed. HTTP is served
    /// until the last one has closed.
    pub async fn serve(self: &Arc<Self>, listener: TcpListener, workers: &Workers) -> DrainReport {
        let tasks = TaskTracker::new();
        let accept = accept_all(&listener, self, workers, &tasks);
        let drain = async {
            self.shutdown.cancelled().await;
            tracing::info!(connections = tasks.len(), "draining");
            // `wait` completes only on a closed tracker; it still accepts new tasks for HTTP.
            tasks.close();
            timeout(self.config.drain_limit, async {
                let _all_gone =
                    timeout(DRAIN_NOTICE.min(self.config.drain_limit / DRAIN_NOTICE_SHARE), tasks.wait()).await;
                self.close_connections.cancel();
                tasks.wait().await;
            })
            .await
        };
        let in_time = tokio::select! {
            never = accept => match never {},
            never = self.upstream.refresh_dns_loop() => match never {},
            never = self.upstream.probe_loop() => match never {},
            in_time = drain => in_time.is_ok(),
        };
        let left = if in_time { 0 } else { tasks.len() };
        if 0 < left {
            tracing::warn!(connections = left, "drain timed out");
        }
        DrainReport { remaining: left }
    }

    /// Creates the admin service. Must be called once: it registers the process metrics.
    pub fn admin(&self) -> Admin {
        let (metrics, upstream) = (Arc::clone(&self.metrics), Arc::clone(&self.upstream));
        Admin::new(self.metrics.registry().clone(), move || metrics.set_cores(&upstream.usage()))
            .with(Arc::new(DrainingProbe(self.shutdown.clone())))
            .with(self.http_service.cores())
    }
}

async fn accept_all(
    listener: &TcpListener,
    gateway: &Arc<Gateway>,
    workers: &Workers,
    tasks: &TaskTracker,
) -> std::convert::Infallible {
    let mut backoff = AcceptBackoff::default();
    let mut checks = OverflowChecks::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match gateway.admission.accept(peer.ip()) {
                Ok(permit) => spawn_connection(AcceptedSocket { stream, peer, permit }, gateway, workers, tasks),
                Err(rejection) => gateway.reject(stream, peer, rejection, &mut checks),
            },
            Err(error) => {
                if let Some(pause) = backoff.next_delay(&error) {
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "accept failed; backing off");
                    gateway.metrics.accept_backoffs.inc();
                    sleep(pause).await;
                }
                continue;
            }
        }
        backoff.reset();
    }
}

/// A socket within the limits.
struct AcceptedSocket {
    stream: TcpStream,
    peer: SocketAddr,
    permit: SocketPermit,
}

fn spawn_connection(socket: AcceptedSocket, gateway: &Arc<Gateway>, workers: &Workers, tasks: &TaskTracker) {
    let AcceptedSocket { stream, peer, permit } = socket;
    // Both fail only when the client has already disconnected.
    if stream.set_nodelay(true).is_ok()
        && SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES).is_ok()
        && let Ok(stream) = stream.into_std()
    {
        let connection = Arc::clone(gateway).connection(stream, peer, permit);
        tasks.spawn_on(connection, workers.next());
    }
}

/// Health checks served beyond the connection limit.
#[derive(Debug, Default)]
struct OverflowChecks {
    tasks: TaskTracker,
    /// Oldest first; some may have finished.
    started: VecDeque<AbortHandle>,
}

impl Gateway {
    /// Drops a socket beyond the connection limit. Health checks from this machine or from a trusted balancer are
    /// answered all the same: an orchestrator must not restart a gateway because it is full.
    fn reject(&self, stream: TcpStream, peer: SocketAddr, rejection: SocketRejection, checks: &mut OverflowChecks) {
        if let Some(suppressed) = self.dropped.admit(Instant::now()) {
            tracing::warn!(reason = %rejection, suppressed, "connection dropped");
        }
        let is_own = stream.local_addr().is_ok_and(|own| own.ip() == peer.ip());
        if is_own || self.admission.trusts(peer.ip()) {
            let check = checks.tasks.spawn(Arc::clone(&self.http_service).check(stream));
            checks.started.push_back(check.abort_handle());
            if MAX_OVERFLOW_CHECKS < checks.started.len()
                && let Some(oldest) = checks.started.pop_front()
            {
                oldest.abort();
            }
        }
    }
}
