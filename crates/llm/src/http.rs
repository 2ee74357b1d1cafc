//! HTTP/1.1 client of one provider, with a connection pool whose connections are counted: see [`connection_tracking`].

mod connection_tracking;
mod connector;
mod proxy_route;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::metrics::ProviderMetrics;
use connection_tracking::InFlightGuard;
use connector::Connector;
use proxy_route::ProxyRoute;
pub(crate) use proxy_route::proxy_for;

/// Error of a connection attempt. Defined here, above the connector and its route, which both name it.
type ConnectError = Box<dyn std::error::Error + Send + Sync>;

/// Idle timeout of a pooled connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Client of one URL.
#[derive(Debug)]
pub(super) struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    target: Uri,
    /// Headers that a forward proxy requires with every request.
    proxy_headers: HeaderMap,
}

/// Settings of the connection pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolSettings {
    /// Timeout of a connection attempt.
    pub(super) connect: Duration,
    /// Limit on idle connections.
    pub(super) max_idle: usize,
}

/// Body of a response. Its connection is in use until the body has been read to the end; dropped before that, the
/// connection is closed.
#[derive(Debug)]
pub(super) struct ResponseBody {
    incoming: Incoming,
    in_flight: Option<InFlightGuard>,
}

impl HttpClient {
    /// Creates a client of `target`, behind the matching proxy of `proxies`. Opens no connection yet.
    ///
    /// # Errors
    ///
    /// The platform's root certificates cannot be used.
    pub(super) fn new(
        target: Uri,
        proxies: &Matcher,
        connections: PoolSettings,
        metrics: Arc<ProviderMetrics>,
    ) -> Result<Self, rustls::Error> {
        let (route, proxy_headers) = (ProxyRoute::to(&target, proxies)?, proxy_route::headers(&target, proxies));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(connections.max_idle)
            .build(Connector::new(route, connections.connect, metrics)?);
        Ok(Self { client, target, proxy_headers })
    }

    /// Posts `body` and returns the response once its head has arrived. Retries on another connection if a pooled one
    /// was closed before any of the request was read; follows no redirects.
    ///
    /// # Errors
    ///
    /// Connecting failed, or the connection broke before the response began.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or later the response's body, closes the connection.
    pub(super) async fn post(&self, headers: HeaderMap, body: Vec<u8>) -> Result<Response<ResponseBody>, Error> {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = headers;
        request.headers_mut().extend(self.proxy_headers.clone());
        let captured = capture_connection(&mut request);
        let mut in_flight = None;
        let mut sending = self.client.request(request);
        let response = poll_fn(|cx| {
            let polled = sending.poll_unpin(cx);
            // At each poll: a retried request moves to another connection.
            connection_tracking::track_assignment(&mut in_flight, &captured);
            polled
        });
        let response = response.await?;
        Ok(response.map(|incoming| ResponseBody { incoming, in_flight }))
    }
}

impl Stream for ResponseBody {
    type Item = Result<Bytes, hyper::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                // Trailers are ignored.
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.in_flight = None;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
