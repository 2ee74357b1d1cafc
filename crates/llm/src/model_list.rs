//! Client of a provider's list of models: one plain call, apart from the pool of the completions.

use std::time::Duration;

use hyper::header::HeaderMap;
use hyper_util::client::proxy::matcher::Intercept;
use reqwest::redirect::Policy;
use reqwest::{Proxy, Response, Url};
use service_runtime::tls;

use crate::error::LlmError;

/// Request for one list.
#[derive(Debug)]
pub(crate) struct ListRequest<'a> {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// Proxy of the completions: a check by another route would blame a provider that they can reach.
    pub(crate) proxy: Option<&'a Intercept>,
    pub(crate) connect_timeout: Duration,
}

impl ListRequest<'_> {
    /// Requests the list over a connection of its own, and returns the response once its head has arrived.
    ///
    /// # Errors
    ///
    /// No connection was made, or it broke before the response began.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub(crate) async fn send(self) -> Result<Response, LlmError> {
        let connect_timeout = self.connect_timeout;
        let tls = tls::client_config().map_err(|error| LlmError::unreachable(&error))?;
        let sent = async {
            let builder = reqwest::Client::builder().no_proxy();
            let builder = match self.proxy {
                Some(proxy) => builder.proxy(proxy_of(proxy)?),
                None => builder,
            };
            let client = builder
                .tls_backend_preconfigured(tls)
                .redirect(Policy::none())
                .connect_timeout(connect_timeout)
                .build()?;
            client.get(self.url).headers(self.headers).send().await
        };
        sent.await.map_err(|error: reqwest::Error| match error.is_timeout() {
            // The only time limit of this client.
            true => LlmError::Unreachable { reason: format!("no connection within {connect_timeout:?}") },
            // The URL may hold a key.
            false => LlmError::unreachable(&error.without_url()),
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
    use tokio::io::{AsyncWriteExt as _, BufReader};

    use super::*;
    use crate::http::proxy_for;
    use crate::http::tests::{answer, head, listener};

    async fn get(target: &str, proxies: &Matcher) -> Result<Response, LlmError> {
        let proxy = proxy_for(&target.parse().unwrap(), proxies);
        let (url, connect_timeout) = (target.parse().unwrap(), Duration::from_secs(20));
        ListRequest { url, headers: HeaderMap::new(), proxy: proxy.as_ref(), connect_timeout }.send().await
    }

    #[tokio::test]
    async fn takes_the_proxy_of_the_completions() {
        let (proxy, address) = listener().await;
        let proxies = Matcher::builder().http(format!("http://quien:clave@{address}")).build();
        let getting = get("http://provider.test/v1/models", &proxies);
        let (response, head) = tokio::join!(getting, answer(&proxy));
        assert_eq!(response.unwrap().status(), 200);
        assert_eq!(head[0], "get http://provider.test/v1/models http/1.1");
        assert!(head.contains(&"proxy-authorization: basic cxvpzw46y2xhdmu=".to_owned()), "{head:?}");
    }

    #[tokio::test]
    async fn bypasses_the_proxy_for_exceptions() {
        let (provider, address) = listener().await;
        for exceptions in ["127.0.0.1", "*"] {
            let proxies = Matcher::builder().all("http://quien:clave@127.0.0.1:1").no(exceptions).build();
            let target = format!("http://{address}/v1/models");
            let getting = get(&target, &proxies);
            let (response, head) = tokio::join!(getting, answer(&provider));
            assert_eq!(response.unwrap().status(), 200, "{exceptions}");
            assert_eq!(head[0], "get /v1/models http/1.1");
            assert!(!head.iter().any(|line| line.starts_with("proxy-authorization")), "{head:?}");
        }
    }

    #[tokio::test]
    async fn follows_no_redirect() {
        let (provider, address) = listener().await;
        let target = format!("http://{address}/v1/models");
        let proxies = Matcher::builder().build();
        let getting = get(&target, &proxies);
        let server = async {
            let mut stream = BufReader::new(provider.accept().await.unwrap().0);
            head(&mut stream).await;
            let moved = "HTTP/1.1 307 Temporary Redirect\r\nlocation: /v2\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(moved.as_bytes()).await.unwrap();
        };
        let (response, ()) = tokio::join!(getting, server);
        assert_eq!(response.unwrap().status(), 307);
    }

    #[tokio::test]
    async fn names_the_cause_of_a_failure() {
        let (provider, address) = listener().await;
        drop(provider);
        let target = format!("http://{address}/v1/models");
        let proxies = Matcher::builder().build();
        let getting = get(&target, &proxies);
        let error = getting.await.unwrap_err().to_string();
        assert!(error.contains("Connection refused"), "{error}");
    }
}
