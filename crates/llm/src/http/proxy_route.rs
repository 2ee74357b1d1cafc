//! Route to a provider: direct, or through a proxy of the environment.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderMap, PROXY_AUTHORIZATION};
use hyper::http::uri::Scheme;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::ConnectError;
use service_runtime::tls;

/// TCP keepalive idle time and interval. With [`KEEPALIVE_RETRIES`] a dead peer is noticed after a minute, well within
/// the idle timeout of the pool.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Unanswered keepalive probes that close the connection.
const KEEPALIVE_RETRIES: u32 = 3;
/// `TCP_USER_TIMEOUT`: maximum time for unacknowledged data.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Host name that no list of exceptions can name (RFC 2606).
const UNLISTED_HOST: &str = "any-name.invalid";

/// Stream to the provider or to its proxy; to an `https` proxy, TLS included.
pub(super) type ProxyStream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Route to a provider.
#[derive(Debug, Clone)]
pub(super) enum ProxyRoute {
    /// No proxy.
    Direct(HttpConnector),
    /// Forward proxy: requests carry the absolute URL.
    Forward {
        /// URL of the proxy.
        proxy: Uri,
        /// Connector to the proxy.
        connector: HttpsConnector<HttpConnector>,
    },
    /// `CONNECT` tunnel.
    Tunnel(Tunnel<HttpsConnector<HttpConnector>>),
}

impl ProxyRoute {
    /// Selects the route to `target`.
    ///
    /// # Errors
    ///
    /// The platform's root certificates cannot be used.
    pub(super) fn to(target: &Uri, proxies: &Matcher) -> Result<Self, rustls::Error> {
        let Some(proxy) = proxy_for(target, proxies) else { return Ok(Self::Direct(http_connector())) };
        let connector = HttpsConnector::from((http_connector(), tls::client_config()?));
        if target.scheme() != Some(&Scheme::HTTPS) {
            return Ok(Self::Forward { proxy: proxy.uri().clone(), connector });
        }
        let tunnel = Tunnel::new(proxy.uri().clone(), connector);
        Ok(Self::Tunnel(match proxy.basic_auth() {
            Some(auth) => tunnel.with_auth(auth.clone()),
            None => tunnel,
        }))
    }

    /// True if a forward proxy reads the requests.
    pub(super) fn ends_at_proxy(&self) -> bool {
        matches!(self, Self::Forward { .. })
    }
}

/// The proxy in front of `target`, if `proxies` names one. `NO_PROXY=*` holds for addresses as well as for names: the
/// matcher compares addresses with addresses only, so that a name is looked up too, which only `*` excepts.
pub(crate) fn proxy_for(target: &Uri, proxies: &Matcher) -> Option<Intercept> {
    let unlisted =
        Uri::builder().scheme(target.scheme_str()?).authority(UNLISTED_HOST).path_and_query("/").build().ok()?;
    proxies.intercept(&unlisted)?;
    proxies.intercept(target)
}

/// Headers for the forward proxy of `target`.
pub(super) fn headers(target: &Uri, proxies: &Matcher) -> HeaderMap {
    let proxy = proxy_for(target, proxies).filter(|_| target.scheme() != Some(&Scheme::HTTPS));
    let auth = proxy.and_then(|proxy| proxy.basic_auth().cloned());
    auth.map(|auth| (PROXY_AUTHORIZATION, auth)).into_iter().collect()
}

fn http_connector() -> HttpConnector {
    let mut sockets = HttpConnector::new();
    // TLS is layered on top by the caller: `https` URLs must pass here.
    sockets.enforce_http(false);
    sockets.set_nodelay(true);
    sockets.set_keepalive(Some(KEEPALIVE));
    sockets.set_keepalive_interval(Some(KEEPALIVE));
    sockets.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    #[cfg(target_os = "linux")]
    sockets.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    sockets
}

impl Service<Uri> for ProxyRoute {
    type Response = ProxyStream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<ProxyStream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        match self {
            Self::Direct(sockets) => sockets.poll_ready(cx).map_err(Into::into),
            Self::Forward { connector, .. } => connector.poll_ready(cx),
            Self::Tunnel(tunnel) => tunnel.poll_ready(cx).map_err(Into::into),
        }
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        match self {
            Self::Direct(sockets) => {
                let connect = sockets.call(target);
                Box::pin(async move { Ok(ProxyStream::Http(connect.await?)) })
            }
            Self::Forward { proxy, connector } => connector.call(proxy.clone()),
            Self::Tunnel(tunnel) => {
                let connect = tunnel.call(target);
                Box::pin(async move { Ok(connect.await?) })
            }
        }
    }
}
