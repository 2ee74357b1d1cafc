//! Counts the connections to a provider as they are made: what lies below `reqwest`'s own pool.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::metrics::ProviderMetrics;

/// Counts every connection that whatever is below it makes.
#[derive(Debug, Clone)]
pub(super) struct CountConnects(pub(super) Arc<ProviderMetrics>);

/// A connector whose connections are counted.
#[derive(Debug, Clone)]
pub(super) struct Counted<S> {
    connector: S,
    metrics: Arc<ProviderMetrics>,
}

impl<S> Layer<S> for CountConnects {
    type Service = Counted<S>;

    fn layer(&self, connector: S) -> Counted<S> {
        Counted { connector, metrics: Arc::clone(&self.0) }
    }
}

impl<S, T> Service<T> for Counted<S>
where
    S: Service<T>,
    S::Future: Send + 'static,
    S::Response: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, target: T) -> Self::Future {
        let connect = self.connector.call(target);
        let mut connecting = Connecting { metrics: Arc::clone(&self.metrics), begin: Instant::now(), made: false };
        Box::pin(async move {
            let connected = connect.await;
            connecting.ended(connected.is_ok());
            connected
        })
    }
}

/// A connection that is being made. One that is given up has failed.
struct Connecting {
    metrics: Arc<ProviderMetrics>,
    begin: Instant,
    made: bool,
}

impl Connecting {
    fn ended(&mut self, made: bool) {
        self.made = made;
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if self.made {
            self.metrics.connects_made.inc();
            self.metrics.connect.observe(self.begin.elapsed().as_secs_f64());
        } else {
            self.metrics.connects_failed.inc();
        }
    }
}
