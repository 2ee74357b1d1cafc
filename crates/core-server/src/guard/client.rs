//! HTTP client of the guard's API.

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service_runtime::Secret;

use super::GuardSettings;
use service_runtime::tls;

/// Limit on a response: a batch of embeddings of the largest models.
const MAX_RESPONSE_BYTES: usize = 16 << 20;
/// Idle timeout of a pooled connection.
const IDLE: Duration = Duration::from_secs(60);

/// Client of one URL.
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
}

/// Error of a call. Must not hold anything of the message.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The platform's root certificates cannot be used.
    #[error("no HTTPS client for the second opinion: {0}")]
    Tls(#[from] rustls::Error),
    /// The key is no valid header value.
    #[error("the key (GUARD_API_KEY) has characters that no HTTP header may have")]
    Key,
    /// Connecting failed, or the connection broke.
    #[error("{0}")]
    Http(reqwest::Error),
    /// HTTP error status.
    #[error("status {0}")]
    Status(StatusCode),
    /// The response exceeds the limit.
    #[error("the response is too long")]
    TooLong,
    /// The response does not follow the API.
    #[error("the response is not that of the API")]
    Malformed,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.url.host_str().unwrap_or_default())
    }
}

impl From<reqwest::Error> for GuardError {
    fn from(error: reqwest::Error) -> Self {
        // The URL may hold a password.
        Self::Http(error.without_url())
    }
}

impl Client {
    /// Creates a client behind the proxies of the environment. Opens no connection yet.
    pub(super) fn new(settings: &GuardSettings) -> Result<Self, GuardError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = &settings.key {
            headers.insert(AUTHORIZATION, bearer(key).ok_or(GuardError::Key)?);
        }
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config()?)
            .default_headers(headers)
            .redirect(Policy::none())
            .pool_idle_timeout(IDLE)
            .build()?;
        Ok(Self { http, url: settings.url.clone() })
    }

    /// Posts `request` and parses the response.
    pub(super) async fn call<T: DeserializeOwned>(&self, request: &impl Serialize) -> Result<T, GuardError> {
        let response = self.http.post(self.url.clone()).json(request).send().await?;
        if !response.status().is_success() {
            return Err(GuardError::Status(response.status()));
        }
        serde_json::from_slice(&read(response).await?).map_err(|_| GuardError::Malformed)
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, GuardError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if MAX_RESPONSE_BYTES < body.len() + chunk.len() {
            return Err(GuardError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn bearer(key: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}
