//! How a provider is reached: directly, or through a proxy that the environment names.

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

use super::connector::ConnectError;
use crate::tls;

/// How long a connection is silent before the system asks whether the other end is there, and between two such
/// questions.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Questions without an answer after which it is not.
const KEEPALIVE_RETRIES: u32 = 3;
/// How long what was sent may go without a sign that it has come.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// A host name that no list of exceptions names (RFC 2606).
const UNLISTED_HOST: &str = "any-name.invalid";

/// A socket to the provider or to the proxy in front of it; to an `https` proxy, TLS included.
pub(super) type ProxyStream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// The way to a provider.
#[derive(Debug, Clone)]
pub(super) enum ProxyRoute {
    /// Nothing in between.
    Direct(HttpConnector),
    /// A proxy that reads the requests, which name the provider.
    Forward {
        /// Where it is.
        proxy: Uri,
        /// Connects to it.
        connector: HttpsConnector<HttpConnector>,
    },
    /// A proxy that only passes bytes on.
    Tunnel(Tunnel<HttpsConnector<HttpConnector>>),
}

impl ProxyRoute {
    /// The way to `target` by what `proxies` says.
    ///
    /// # Errors
    ///
    /// The system's certificates cannot be used.
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

    /// Whether requests are read by a proxy, and not by the provider.
    pub(super) fn ends_at_proxy(&self) -> bool {
        matches!(self, Self::Forward { .. })
    }
}

/// The proxy in front of `target`, if `proxies` names one. `NO_PROXY=*` holds for addresses as well as for names: the
/// matcher compares an address with addresses alone, so that it is asked about a name too, which only `*` excepts.
fn proxy_for(target: &Uri, proxies: &Matcher) -> Option<Intercept> {
    let unlisted =
        Uri::builder().scheme(target.scheme_str()?).authority(UNLISTED_HOST).path_and_query("/").build().ok()?;
    proxies.intercept(&unlisted)?;
    proxies.intercept(target)
}

/// What a proxy that reads the requests to `target` wants to find in each of them.
pub(super) fn headers(target: &Uri, proxies: &Matcher) -> HeaderMap {
    let proxy = proxy_for(target, proxies).filter(|_| target.scheme() != Some(&Scheme::HTTPS));
    let auth = proxy.and_then(|proxy| proxy.basic_auth().cloned());
    auth.map(|auth| (PROXY_AUTHORIZATION, auth)).into_iter().collect()
}

fn http_connector() -> HttpConnector {
    let mut sockets = HttpConnector::new();
    // `https` is for whoever uses the socket.
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
