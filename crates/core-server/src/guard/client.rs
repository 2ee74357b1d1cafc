//! Calls to the API.

use std::fmt;
use std::time::Duration;

use boot::Secret;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::GuardSettings;
use crate::tls;

/// Longest response that is read: vectors of all the sentences that are known.
const MAX_RESPONSE_BYTES: usize = 16 << 20;
/// Time after which a connection without a call is closed.
const IDLE: Duration = Duration::from_secs(60);

/// Client of one address.
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
}

/// Why there is no opinion. Never says anything of the message.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The system's certificates cannot be used.
    #[error("no HTTPS client for the second opinion: {0}")]
    Tls(#[from] rustls::Error),
    /// The key cannot be sent.
    #[error("the key (GUARD_API_KEY) has characters that no HTTP header may have")]
    Key,
    /// No connection, or it broke.
    #[error("{0}")]
    Http(reqwest::Error),
    /// An error status.
    #[error("status {0}")]
    Status(StatusCode),
    /// More than any answer of the API has.
    #[error("the response is too long")]
    TooLong,
    /// Something that is not the API's.
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
        // An address may hold a password.
        Self::Http(error.without_url())
    }
}

impl Client {
    /// A client for `settings`, by way of the proxies that the environment names. Opens no connection yet.
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

    /// Sends `request` and reads the response.
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
