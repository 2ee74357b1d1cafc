//! Connector: establishes the connections to a provider within a timeout, and counts them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use tokio::time::{Instant, timeout};
use tower_service::Service;

use super::ConnectError;
use super::connection_tracking::TrackedStream;
use super::proxy_route::{ProxyRoute, ProxyStream};
use crate::metrics::ProviderMetrics;
use service_runtime::tls;

/// Connects along one route.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    https: HttpsConnector<ProxyRoute>,
    is_proxy: bool,
    limit: Duration,
    metrics: Arc<ProviderMetrics>,
}

impl Connector {
    /// Creates a connector along `route` with a timeout of `limit`.
    ///
    /// # Errors
    ///
    /// The platform's root certificates cannot be used.
    pub(super) fn new(
        route: ProxyRoute,
        limit: Duration,
        metrics: Arc<ProviderMetrics>,
    ) -> Result<Self, rustls::Error> {
        let is_proxy = route.ends_at_proxy();
        let mut tls = tls::client_config()?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { https: HttpsConnector::from((route, tls)), is_proxy, limit, metrics })
    }
}

impl Service<Uri> for Connector {
    type Response = TrackedStream<MaybeHttpsStream<ProxyStream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let (connect, limit, is_proxy) = (self.https.call(target), self.limit, self.is_proxy);
        let mut connecting = Connecting { metrics: Arc::clone(&self.metrics), begin: Instant::now(), connected: false };
        Box::pin(async move {
            let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit:?}"));
            let socket = timeout(limit, connect).await.map_err(|_| late())??;
            connecting.connected = true;
            Ok(TrackedStream::new(socket, is_proxy, Arc::clone(&connecting.metrics)))
        })
    }
}

/// RAII guard of a connection attempt: dropped before it is connected, it counts as failed.
struct Connecting {
    metrics: Arc<ProviderMetrics>,
    begin: Instant,
    connected: bool,
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if self.connected {
            self.metrics.connects_ok.inc();
            self.metrics.connect.observe(self.begin.elapsed().as_secs_f64());
        } else {
            self.metrics.connects_failed.inc();
        }
    }
}
