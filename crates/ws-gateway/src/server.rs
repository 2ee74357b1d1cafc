//! Accepting connections, and ending them when the gateway stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use boot::AcceptPauses;
use boot::admin::{Admin, Draining};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::config::{Config, SPARE_CONNECTIONS};
use crate::connection::Gateway;
use crate::workers::Workers;

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
pub struct Drained {
    /// Connections that had not ended within the drain time.
    pub left: usize,
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
    /// While it drains, it still answers HTTP, so that `/readyz` can say so; upgrades are refused.
    pub async fn serve(self: &Arc<Self>, listener: TcpListener, workers: &Workers) -> Drained {
        let tasks = TaskTracker::new();
        let accept = accept_all(&listener, self, workers, &tasks);
        let drain = async {
            self.draining.cancelled().await;
            tracing::info!(connections = tasks.len(), "draining");
            tasks.close();
            timeout(self.config.drain_limit, tasks.wait()).await
        };
        let in_time = tokio::select! {
            never = accept => match never {},
            never = self.upstream.keep_known() => match never {},
            in_time = drain => in_time.is_ok(),
        };
        let left = if in_time { 0 } else { tasks.len() };
        if 0 < left {
            tracing::warn!(connections = left, "drain timed out");
        }
        Drained { left }
    }

    /// What the admin port tells. To be called once: each has metrics of the process.
    pub fn admin(&self) -> Admin {
        let (metrics, upstream) = (Arc::clone(&self.metrics), Arc::clone(&self.upstream));
        Admin::new(self.metrics.registry().clone(), move || metrics.set_cores(&upstream.usage()))
            .with(Arc::new(Draining(self.draining.clone())))
            .with(self.site.cores())
    }
}

async fn accept_all(
    listener: &TcpListener,
    gateway: &Arc<Gateway>,
    workers: &Workers,
    tasks: &TaskTracker,
) -> std::convert::Infallible {
    let most = gateway.config.max_connections.saturating_add(SPARE_CONNECTIONS);
    let mut pauses = AcceptPauses::default();
    loop {
        match listener.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            // Beyond the cap there is no room even to say so.
            Ok(_) if most <= tasks.len() => {}
            Ok((stream, peer)) => admit(stream, peer, gateway, workers, tasks),
            Err(error) => {
                if let Some(pause) = pauses.after(&error) {
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept connections");
                    gateway.metrics.accept_pauses.inc();
                    sleep(pause).await;
                }
                continue;
            }
        }
        pauses.reset();
    }
}

fn admit(
    stream: std::net::TcpStream,
    peer: SocketAddr,
    gateway: &Arc<Gateway>,
    workers: &Workers,
    tasks: &TaskTracker,
) {
    // It fails only when the client is gone again.
    if stream.set_nodelay(true).is_ok() {
        let connection = Arc::clone(gateway).connection(stream, peer);
        tasks.spawn_on(connection, workers.next());
    }
}
