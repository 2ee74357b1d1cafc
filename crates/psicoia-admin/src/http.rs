//! HTTP requests to the page and to admin ports.

use std::error::Error;
use std::time::{Duration, SystemTime};

use reqwest::header::DATE;
use service_runtime::tls;

/// Bound of a response: a scrape of thousands of people is far below it.
const MAX_RESPONSE_BYTES: usize = 4 * 1_024 * 1_024;

/// HTTP client. Follows redirects, trusts the platform's authorities.
#[derive(Debug, Clone)]
pub(crate) struct Http(reqwest::Client);

/// Response to a GET.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The server's clock (`Date`).
    pub(crate) date: Option<SystemTime>,
    pub(crate) body: String,
}

/// Failure of a request: its first cause.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct HttpError(String);

impl Http {
    /// Creates a client whose requests end within `timeout`.
    pub(crate) fn new(timeout: Duration) -> Result<Self, HttpError> {
        let tls = tls::client_config().map_err(|error| HttpError(error.to_string()))?;
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).timeout(timeout).build();
        Ok(Self(client.map_err(|error| HttpError(first_cause(&error)))?))
    }

    /// Gets `url`, whatever the status.
    pub(crate) async fn get(&self, url: &str) -> Result<Response, HttpError> {
        self.try_get(url).await.map_err(|error| HttpError(first_cause(&error.without_url())))
    }

    async fn try_get(&self, url: &str) -> Result<Response, reqwest::Error> {
        let mut response = self.0.get(url).send().await?;
        let status = response.status().as_u16();
        let date = response.headers().get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if MAX_RESPONSE_BYTES < body.len() + chunk.len() {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status, date, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// Returns the message of the first cause: reqwest's own names the step only.
fn first_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
