//! Provider with an OpenAI-compatible `chat/completions` API, called with `stream: true`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use futures_util::FutureExt as _;
use hyper::header::{CONTENT_ENCODING, HeaderMap, RETRY_AFTER};
use hyper_util::client::proxy::matcher::Matcher;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::breaker::Breaker;
use super::call_limiter::CallLimiter;
use super::completion_stream::{CallDeadlines, CompletionStream, Failed};
use super::error::LlmError;
use super::error_body::ErrorBody;
use super::http::{self, HttpClient, PoolSettings, ResponseBody};
use super::metrics::ProviderMetrics;
use super::model_list::{ClientError, ModelListClient};
use super::quirks::{LearntQuirks, MAX_LESSONS, Quirks};
use super::request::{CompletionRequest, RequestParts};
use super::response_drainer::{self, ResponseDrainer};
use super::retry::parse_retry_after;
use super::{CallTimeouts, LlmSettings, ProviderSettings};

/// Share of the first-token timeout that a call must have had for its timeout to count against the provider; with
/// less, the calls before it used up the deadline.
const FAIR_SHARE: f64 = 0.95;
/// Consecutive answers with an unopened thinking block from which on the model is expected to begin so. A single one
/// may be text that a person asked for, and would hold back every later answer to its end.
const UNOPENED_IN_A_ROW: u8 = 2;

/// One provider.
#[derive(Debug)]
pub(super) struct Provider {
    http: HttpClient,
    /// `None` if the URL has no such neighbour.
    models: Option<ModelListClient>,
    request: RequestParts,
    quirks: LearntQuirks,
    settings: ProviderSettings,
    timeouts: CallTimeouts,
    name: String,
    breaker: Breaker,
    metrics: Arc<ProviderMetrics>,
    calls: CallLimiter,
    drainer: ResponseDrainer,
    /// Consecutive answers that began with an unopened thinking block.
    unopened: AtomicU8,
}

impl PartialEq for Provider {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// Parts that the providers of a model share.
#[derive(Debug, Clone, Copy)]
pub(super) struct SharedParts<'a> {
    pub(super) settings: &'a LlmSettings,
    /// Proxies of the environment.
    pub(super) proxies: &'a Matcher,
    /// Notified whenever the breaker of one of them opens.
    pub(super) opened: &'a Arc<Notify>,
}

/// Error of creating the model client.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The platform's root certificates cannot be used.
    #[error("no HTTPS client for the model: {0}")]
    Tls(#[from] rustls::Error),
    /// The key is no valid header value.
    #[error("the key of {provider} has characters that no HTTP header may have")]
    Key {
        /// Name of the provider.
        provider: String,
    },
    /// A proxy of the environment cannot be used.
    #[error("no HTTP client for the provider's list of models: {0}")]
    Http(reqwest::Error),
}

impl From<ClientError> for ModelError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Tls(error) => Self::Tls(error),
            // The URL of a proxy may hold a password.
            ClientError::Http(error) => Self::Http(error.without_url()),
        }
    }
}

impl Provider {
    /// Creates a provider. Opens no connection yet.
    ///
    /// # Errors
    ///
    /// See [`ModelError`].
    pub(super) fn new(
        name: String,
        provider: ProviderSettings,
        metrics: ProviderMetrics,
        shared: SharedParts<'_>,
    ) -> Result<Self, ModelError> {
        let SharedParts { settings, proxies, opened } = shared;
        let (metrics, timeouts) = (Arc::new(metrics), settings.timeouts);
        let pool = PoolSettings { connect: timeouts.connect, max_idle: settings.max_connections };
        let request = RequestParts::to(&provider).ok_or_else(|| ModelError::Key { provider: name.clone() })?;
        let models = provider.url.models().map(|url| {
            let proxy = http::proxy_for(&provider.url.uri, proxies);
            ModelListClient::new(url, request.headers_to_read(), proxy.as_ref(), timeouts.connect)
        });
        let http = HttpClient::new(provider.url.uri.clone(), proxies, pool, Arc::clone(&metrics))?;
        let breaker = Breaker::new(name.clone(), Arc::clone(&metrics), settings.backoff.max, Arc::clone(opened));
        let calls = CallLimiter::new(settings.max_connections, timeouts.connect, Arc::clone(&metrics));
        Ok(Self {
            http,
            models: models.transpose()?,
            request,
            quirks: LearntQuirks::default(),
            settings: provider,
            timeouts,
            name,
            breaker,
            metrics,
            calls,
            drainer: ResponseDrainer::new(),
            unopened: AtomicU8::new(0),
        })
    }

    /// Name for logs and metric labels.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Name of the model.
    pub(super) fn model(&self) -> &str {
        &self.settings.model
    }

    /// True if answers must be read as if they began inside a thinking block.
    pub(super) fn suspects_thinking(&self) -> bool {
        UNOPENED_IN_A_ROW <= self.unopened.load(Ordering::Relaxed)
    }

    /// Records whether an answer began with an unopened thinking block.
    pub(super) fn count_thinking(&self, is_unopened: bool) {
        let next = |before: u8| Some(if is_unopened { before.saturating_add(1) } else { 0 });
        // Infallible: the closure always returns a value.
        let _ = self.unopened.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Drainer of the responses.
    pub(super) fn drainer(&self) -> &ResponseDrainer {
        &self.drainer
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub(super) fn weight(&self) -> u32 {
        self.settings.weight
    }

    /// Timeouts of a call.
    pub(super) fn timeouts(&self) -> CallTimeouts {
        self.timeouts
    }

    pub(super) fn metrics(&self) -> &ProviderMetrics {
        &self.metrics
    }

    /// Requests the provider's list of models; `None` if its URL has no such neighbour.
    pub(super) async fn list_models(&self) -> Option<Result<reqwest::Response, LlmError>> {
        Some(self.models.as_ref()?.get().await)
    }

    /// Makes one call and waits for the first token, until the request's deadline. Adapts to a rejection that names an
    /// unsupported part of the request, and repeats the call without that part.
    pub(super) async fn attempt(&self, request: &CompletionRequest<'_>) -> Result<CompletionStream<'_>, LlmError> {
        let timeouts = self.timeouts;
        let begin = Instant::now();
        let longest = timeouts.first_token.min(timeouts.total).min(request.first_token_limit);
        let left = request.deadline.saturating_duration_since(begin);
        let limit = longest.min(left);
        let mut lessons = 0;
        loop {
            let sent = self.quirks.current();
            match self.call(request, sent, begin + limit).await {
                // Earlier calls used up the deadline: this provider had no fair share of it.
                Err(LlmError::Timeout { .. }) if left < longest.mul_f64(FAIR_SHARE) => {
                    return Err(LlmError::Deadline { left });
                }
                Err(error) if lessons < MAX_LESSONS && self.quirks.learn(sent, &error) => lessons += 1,
                Err(LlmError::Timeout { waiting_for, .. }) => return Err(LlmError::Timeout { waiting_for, limit }),
                answered => return answered,
            }
        }
    }

    /// Sends one request, adapted to `quirks`.
    async fn call(
        &self,
        request: &CompletionRequest<'_>,
        quirks: Quirks,
        give_up: Instant,
    ) -> Result<CompletionStream<'_>, LlmError> {
        // The wait for a permit is part of the first-token limit.
        let mut call = self.calls.acquire(give_up).await?;
        let begin = Instant::now();
        let limit = give_up.saturating_duration_since(begin);
        let late = LlmError::Timeout { waiting_for: "first token", limit };
        let deadlines = CallDeadlines { total: begin + self.timeouts.total, first_token: give_up };
        let charge = request.charge();
        let begun = match timeout_at(give_up, self.send(request, quirks)).await {
            Ok(Ok(body)) => CompletionStream::begin(self, body, deadlines, late).await,
            Ok(Err(failed)) => Err(failed),
            Err(_) => Err((late, None)),
        };
        let (error, rest) = match begun {
            Ok(answer) => return Ok(answer.of_call(call, charge)),
            Err(failed) => failed,
        };
        if error.is_free_of_charge() {
            charge.waive();
        }
        call.ended(error.outcome());
        if let Some(rest) = rest {
            self.drainer.finish(rest, call);
        }
        Err(error)
    }

    /// Sends the request and returns the body of a successful response.
    async fn send(&self, request: &CompletionRequest<'_>, quirks: Quirks) -> Result<ResponseBody, Failed> {
        let (headers, body) = (self.request.headers(request.context), self.request.body(request, quirks));
        let response = self.http.post(headers, body).await.map_err(|error| (LlmError::unreachable(&error), None))?;
        let status = response.status();
        if !status.is_success() {
            let retry_after = retry_after(response.headers());
            let mut body = response.into_body();
            let facts = Box::new(ErrorBody::read(&mut body).await);
            let error = LlmError::Status { status: status.as_u16(), retry_after, body: facts };
            return Err((error, Some(response_drainer::drain_body(body).boxed())));
        }
        if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err((LlmError::Malformed { reason: "compressed, which was not asked for" }, None));
        }
        Ok(response.into_body())
    }
}

#[expect(clippy::disallowed_methods, reason = "a Retry-After date is calendar time, read at the edge")]
fn retry_after(headers: &HeaderMap) -> Option<std::time::Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    parse_retry_after(value, SystemTime::now())
}
