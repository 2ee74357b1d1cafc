//! One provider: its client, its breaker, and the state that its calls share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::sync::Notify;

use super::breaker::Breaker;
use super::call_limiter::CallLimiter;
use super::error::LlmError;
use super::http::{self, HttpClient, PoolSettings};
use super::metrics::ProviderMetrics;
use super::model_list::ListRequest;
use super::quirks::LearntQuirks;
use super::request::RequestParts;
use super::response_drainer::ResponseDrainer;
use super::{CallTimeouts, LlmSettings, ProviderSettings};

/// Consecutive answers with an unopened thinking block from which on the model is expected to begin so. A single one
/// may be text that a person asked for, and would hold back every later answer to its end.
const UNOPENED_IN_A_ROW: u8 = 2;

/// One provider.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) http: HttpClient,
    /// Proxy on the way to the provider.
    proxy: Option<Intercept>,
    pub(super) request: RequestParts,
    pub(super) quirks: LearntQuirks,
    settings: ProviderSettings,
    pub(super) timeouts: CallTimeouts,
    name: String,
    breaker: Breaker,
    metrics: Arc<ProviderMetrics>,
    pub(super) calls: CallLimiter,
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
        let http = HttpClient::new(provider.url.uri.clone(), proxies, pool, Arc::clone(&metrics))?;
        let breaker = Breaker::new(name.clone(), Arc::clone(&metrics), settings.backoff.max, Arc::clone(opened));
        let calls = CallLimiter::new(settings.max_connections, timeouts.connect, Arc::clone(&metrics));
        Ok(Self {
            http,
            proxy: http::proxy_for(&provider.url.uri, proxies),
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
        let (url, headers) = (self.settings.url.models()?, self.request.headers_to_read());
        let (proxy, connect_timeout) = (self.proxy.as_ref(), self.timeouts.connect);
        Some(ListRequest { url, headers, proxy, connect_timeout }.send().await)
    }
}
