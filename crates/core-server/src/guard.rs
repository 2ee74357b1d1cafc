//! Second opinion on a person's message, from a separate model behind an OpenAI-compatible API.
//!
//! Must not make anything worse by being wrong, slow or down: an opinion only raises the level, has a deadline, and is
//! skipped while its circuit breaker is open. Levels are neither logged nor counted: they say something of a person.

mod breaker;
mod chat;
mod client;
mod embeddings;
mod metrics;
mod moderations;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use protocol::UserText;
use safety::Level;
use service_runtime::Secret;
use tokio::time::{Instant, timeout};
use url::Url;

use breaker::GuardBreaker;
use client::Client;
pub use client::GuardError;
use embeddings::References;
pub use metrics::{GuardMetric, GuardMetrics, GuardOutcome};

/// Timeout of one preparation attempt; runs beside the service.
const PREPARATION: Duration = Duration::from_secs(60);
/// Backoff of the preparation: doubles up to the maximum.
const PREPARATION_PAUSE: Duration = Duration::from_secs(1);
const PREPARATION_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Supported APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardKind {
    /// `…/moderations`: scores for categories.
    Moderations,
    /// `…/chat/completions`: a moderation model, or any that follows an instruction.
    Chat,
    /// `…/embeddings`: similarity to reference sentences.
    Embeddings,
}

/// Settings of the guard.
#[derive(Clone)]
pub struct GuardSettings {
    /// URL of the API.
    pub url: Url,
    /// Kind of the API.
    pub kind: GuardKind,
    /// Name of the model, where the API wants one.
    pub model: Option<String>,
    /// Key sent as a bearer token.
    pub key: Option<Secret>,
    /// Longest time that an answer waits for an opinion.
    pub deadline: Duration,
}

/// Client for second opinions.
#[derive(Debug)]
pub struct Guard {
    client: Client,
    settings: GuardSettings,
    references: References,
    breaker: GuardBreaker,
    metrics: GuardMetrics,
}

impl GuardKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Moderations, Self::Chat, Self::Embeddings];

    /// Name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Moderations => "moderations",
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
        }
    }

    /// Path suffix of the URL.
    fn endpoint(self) -> &'static str {
        match self {
            Self::Moderations => "/moderations",
            Self::Chat => "/chat/completions",
            Self::Embeddings => "/embeddings",
        }
    }
}

impl fmt::Display for GuardKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Error: unknown kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is none of moderations, chat, embeddings")]
pub struct UnknownKind;

impl FromStr for GuardKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == text.trim()).ok_or(UnknownKind)
    }
}

/// Error of parsing the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardUrlError {
    /// Not a URL.
    #[error("not an address: {0}")]
    Malformed(#[from] url::ParseError),
    /// Neither http nor https.
    #[error("must begin with http:// or https:// and name a host")]
    Scheme,
    /// A base URL, or that of another API.
    #[error("is not the full address of a {kind} API, which ends in {}", kind.endpoint())]
    Endpoint {
        /// The configured kind.
        kind: GuardKind,
    },
}

impl fmt::Debug for GuardSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        let Self { url: _, kind, model, key: _, deadline } = self;
        write!(f, "GuardSettings({kind} at {}, {model:?}, {deadline:?})", self.host())
    }
}

impl GuardSettings {
    /// Parses a URL of the configuration, and rejects base URLs, a common mistake.
    ///
    /// # Errors
    ///
    /// The text is no http(s) URL, or not that of an API of this `kind`.
    pub fn parse_url(text: &str, kind: GuardKind) -> Result<Url, GuardUrlError> {
        let url = Url::parse(text.trim())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(GuardUrlError::Scheme);
        }
        let is_endpoint = url.path().trim_end_matches('/').ends_with(kind.endpoint());
        if is_endpoint { Ok(url) } else { Err(GuardUrlError::Endpoint { kind }) }
    }

    /// Host that messages are sent to.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

impl Guard {
    /// Creates a client. Opens no connection yet.
    ///
    /// # Errors
    ///
    /// See [`GuardError`].
    pub fn new(settings: GuardSettings, metrics: GuardMetrics) -> Result<Self, GuardError> {
        let client = Client::new(&settings)?;
        Ok(Self { client, settings, references: References::default(), breaker: GuardBreaker::default(), metrics })
    }

    /// Fetches the reference embeddings, retrying until it succeeds; until then opinions are skipped. Other kinds need
    /// no preparation.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the guard unprepared.
    pub async fn prepare(&self) {
        if self.settings.kind != GuardKind::Embeddings {
            return;
        }
        let mut pause = PREPARATION_PAUSE;
        loop {
            let learnt =
                timeout(PREPARATION, self.references.learn(&self.client, self.settings.model.as_deref())).await;
            match learnt {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tracing::warn!(%error, "no second opinion yet (GUARD_URL)"),
                Err(_) => tracing::warn!("no second opinion yet (GUARD_URL): no answer in time"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PREPARATION_PAUSE_MAX);
        }
    }

    /// Requests the level of `text`. `None` on failure, on timeout, and while skipped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call, without counting it.
    pub async fn opinion(&self, text: &UserText) -> Option<Level> {
        let begin = Instant::now();
        if !self.breaker.allow_call(begin) {
            self.metrics.ended(GuardOutcome::Skipped);
            return None;
        }
        let asked = timeout(self.settings.deadline, self.ask(text)).await;
        let failure = match asked {
            Ok(Ok(Some(level))) => {
                self.metrics.ended(GuardOutcome::Success);
                self.metrics.time.observe(begin.elapsed().as_secs_f64());
                self.breaker.succeeded();
                return Some(level);
            }
            // Not prepared yet.
            Ok(Ok(None)) => {
                self.metrics.ended(GuardOutcome::Skipped);
                return None;
            }
            Ok(Err(error)) => {
                self.metrics.ended(GuardOutcome::Error);
                error.to_string()
            }
            Err(_) => {
                self.metrics.ended(GuardOutcome::Timeout);
                format!("no answer within {} ms", self.settings.deadline.as_millis())
            }
        };
        if let Some(pause) = self.breaker.failed(Instant::now()) {
            // Outside the span of a turn: the line is about the guard, not about the message that met its failure.
            tracing::warn!(parent: None, pause_s = pause.as_secs(), error = failure, "no second opinion for now (GUARD_URL)");
        }
        None
    }

    async fn ask(&self, text: &UserText) -> Result<Option<Level>, GuardError> {
        let model = self.settings.model.as_deref();
        match self.settings.kind {
            GuardKind::Moderations => moderations::ask(&self.client, model, text).await.map(Some),
            GuardKind::Chat => chat::ask(&self.client, model, text).await.map(Some),
            GuardKind::Embeddings => self.references.ask(&self.client, model, text).await,
        }
    }
}

#[cfg(test)]
mod tests;
