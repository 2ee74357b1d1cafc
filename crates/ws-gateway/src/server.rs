//! Accepting connections, and ending them when the gateway stops.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use boot::admin::{Admin, DrainingProbe};
use boot::{AcceptBackoff, SocketPermit, SocketRejection};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connection::Gateway;
use crate::workers::Workers;

/// Time between the moment from which nothing new is taken and the one at which connections end: balancers have to
/// notice first, or they send here all who lose their connection.
const DRAIN_NOTICE: Duration = Duration::from_secs(2);
/// Part of the drain time that the notice takes at most.
const DRAIN_NOTICE_SHARE: u32 = 4;
/// Bytes the kernel takes for a client, of which it asks for more when a third is free. What lies there cannot be told
/// from what a client does not read: the more there is, the later a slow one shows progress or gets a ping.
const SEND_BUFFER_BYTES: usize = 64 * 1_024;
/// Health checks in progress where there is no room for anything else; the oldest gives way to the next, since one that
/// is real asks at once.
const MAX_OVERFLOW_CHECKS: usize = 8;

/// The gateway's port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {host}:{port} (WS_HOST, WS_PORT): {source}")]
pub struct BindError {
    host: String,
    port: u16,
    source: io::Error,
}

/// How a gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that had not ended within the drain time.
    pub remaining: usize,
}

/// Takes the port of `config`.
///
/// # Errors
///
/// The port is in use, the address is not this machine's, or the name has none.
pub async fn bind(config: &Config) -> Result<TcpListener, BindError> {
    let bound = TcpListener::bind((config.host.as_str(), config.port)).await;
    bound.map_err(|source| BindError { host: config.host.clone(), port: config.port, source })
}

impl Gateway {
    /// Serves `listener` until the gateway is to drain and connections have ended, or the drain time is over.
    ///
    /// When it is to end it first says so for a moment (`/readyz`, refused upgrades), then ends connections. Until the
    /// last one has ended it still answers HTTP.
    pub async fn serve(self: &Arc<Self>, listener: TcpListener, workers: &Workers) -> DrainReport {
        let tasks = TaskTracker::new();
        let accept = accept_all(&listener, self, workers, &tasks);
        let drain = async {
            self.shutdown.cancelled().await;
            tracing::info!(connections = tasks.len(), "draining");
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

    /// What the admin port tells. To be called once: each has metrics of the process.
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
                Ok(permit) => spawn_connection((stream, peer), permit, gateway, workers, tasks),
                Err(refusal) => gateway.reject((stream, peer), refusal, &mut checks),
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

fn spawn_connection(
    (stream, peer): (TcpStream, SocketAddr),
    permit: SocketPermit,
    gateway: &Arc<Gateway>,
    workers: &Workers,
    tasks: &TaskTracker,
) {
    // They fail only when the client is gone again.
    if stream.set_nodelay(true).is_ok()
        && SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES).is_ok()
        && let Ok(stream) = stream.into_std()
    {
        let connection = Arc::clone(gateway).connection(stream, peer, permit);
        tasks.spawn_on(connection, workers.next());
    }
}

/// Health checks for which there is no room otherwise.
#[derive(Debug, Default)]
struct OverflowChecks {
    tasks: TaskTracker,
    /// The last of them, oldest first; some may have ended.
    started: VecDeque<AbortHandle>,
}

impl Gateway {
    /// Drops a socket for which there is no room. A health check from this machine or from a balancer is answered all
    /// the same: a gateway that is full is not to be ended as one that hangs.
    fn reject(&self, (stream, peer): (TcpStream, SocketAddr), refusal: SocketRejection, checks: &mut OverflowChecks) {
        if let Some(suppressed) = self.dropped.admit(Instant::now()) {
            tracing::warn!(reason = %refusal, suppressed, "connection dropped");
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
