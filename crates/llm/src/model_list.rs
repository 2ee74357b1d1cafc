//! Client of a provider's list of models: one plain call, apart from the pool of the completions.

use std::time::Duration;

use hyper::header::HeaderMap;
use hyper_util::client::proxy::matcher::Intercept;
use reqwest::redirect::Policy;
use reqwest::{Proxy, Response, Url};
use service_runtime::tls;

use crate::error::LlmError;

/// Client of one list.
#[derive(Debug)]
pub(crate) struct ModelListClient {
    http: reqwest::Client,
    url: Url,
    headers: HeaderMap,
    connect_timeout: Duration,
}

/// Error of creating a client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
}

impl ModelListClient {
    /// Creates a client of `url`, behind `proxy`. Opens no connection yet.
    pub(crate) fn new(
        url: Url,
        headers: HeaderMap,
        proxy: Option<&Intercept>,
        connect_timeout: Duration,
    ) -> Result<Self, ClientError> {
        // Must be the route of the completions: a check on another one would report a provider that they can reach.
        let builder = reqwest::Client::builder().no_proxy();
        let builder = match proxy {
            Some(proxy) => builder.proxy(proxy_of(proxy)?),
            None => builder,
        };
        let http = builder
            .tls_backend_preconfigured(tls::client_config()?)
            .redirect(Policy::none())
            .connect_timeout(connect_timeout)
            // Called once: an idle connection would wait for nothing.
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { http, url, headers, connect_timeout })
    }

    /// Requests the list, and returns the response once its head has arrived.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub(crate) async fn get(&self) -> Result<Response, LlmError> {
        let sent = self.http.get(self.url.clone()).headers(self.headers.clone()).send().await;
        sent.map_err(|error| match error.is_timeout() {
            // The only time limit of this client.
            true => LlmError::Unreachable { reason: format!("no connection within {:?}", self.connect_timeout) },
            false => LlmError::unreachable(&error),
        })
    }
}

fn proxy_of(proxy: &Intercept) -> Result<Proxy, reqwest::Error> {
    let all = Proxy::all(proxy.uri().to_string())?;
    Ok(match proxy.basic_auth() {
        Some(auth) => all.custom_http_auth(auth.clone()),
        None => all,
    })
}

#[cfg(test)]
mod tests {
    use hyper_util::client::proxy::matcher::Matcher;
    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use crate::http::proxy_for;
    use crate::http::tests::{answer, listener};

    fn client(target: &str, proxies: &Matcher) -> ModelListClient {
        let proxy = proxy_for(&target.parse().unwrap(), proxies);
        let url = target.parse().unwrap();
        ModelListClient::new(url, HeaderMap::new(), proxy.as_ref(), Duration::from_secs(20)).unwrap()
    }

    #[tokio::test]
    async fn takes_the_proxy_of_the_completions() {
        let (proxy, address) = listener().await;
        let proxies = Matcher::builder().http(format!("http://quien:clave@{address}")).build();
        let client = client("http://provider.test/v1/models", &proxies);
        let (response, head) = tokio::join!(client.get(), answer(&proxy));
        assert_eq!(response.unwrap().status(), 200);
        assert_eq!(head[0], "get http://provider.test/v1/models http/1.1");
        assert!(head.contains(&"proxy-authorization: basic cxvpzw46y2xhdmu=".to_owned()), "{head:?}");
    }

    #[tokio::test]
    async fn bypasses_the_proxy_for_exceptions() {
        let (provider, address) = listener().await;
        for exceptions in ["127.0.0.1", "*"] {
            let proxies = Matcher::builder().all("http://quien:clave@127.0.0.1:1").no(exceptions).build();
            let client = client(&format!("http://{address}/v1/models"), &proxies);
            let (response, head) = tokio::join!(client.get(), answer(&provider));
            assert_eq!(response.unwrap().status(), 200, "{exceptions}");
            assert_eq!(head[0], "get /v1/models http/1.1");
            assert!(!head.iter().any(|line| line.starts_with("proxy-authorization")), "{head:?}");
        }
    }

    #[tokio::test]
    async fn follows_no_redirect() {
        let (provider, address) = listener().await;
        let client = client(&format!("http://{address}/v1/models"), &Matcher::builder().build());
        let server = async {
            let mut stream = provider.accept().await.unwrap().0;
            let moved = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /v2\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(moved.as_bytes()).await.unwrap();
            stream
        };
        let (response, _stream) = tokio::join!(client.get(), server);
        assert_eq!(response.unwrap().status(), 307);
    }

    #[tokio::test]
    async fn names_the_cause_of_a_failure() {
        let (provider, address) = listener().await;
        drop(provider);
        let client = client(&format!("http://{address}/v1/models"), &Matcher::builder().build());
        let error = client.get().await.unwrap_err().to_string();
        assert!(error.contains("Connection refused"), "{error}");
    }
}
