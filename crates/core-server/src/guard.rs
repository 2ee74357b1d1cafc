//! A second opinion on what a person writes, from a model of its own behind an OpenAI-compatible API.
//!
//! It may be wrong, slow or away without anyone being worse off: the opinion only raises, has a time limit, and is
//! not asked for any more after failures in a row. What it says of a message is neither logged nor counted.

mod breaker;
mod chat;
mod client;
mod embeddings;
mod moderations;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use boot::Secret;
use protocol::UserText;
use safety::Level;
use tokio::time::{Instant, timeout};
use url::Url;

use crate::metrics::{GuardMetrics, GuardOutcome};
use breaker::GuardBreaker;
use client::Client;
pub use client::GuardError;
use embeddings::References;

/// Time to prepare, which no person waits for.
const PREPARATION: Duration = Duration::from_secs(60);
/// Pause before it is tried again, doubled with each try up to the longest.
const PREPARATION_PAUSE: Duration = Duration::from_secs(1);
const PREPARATION_PAUSE_MAX: Duration = Duration::from_secs(60);

/// APIs that give an opinion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardKind {
    /// `…/moderations`: scores for categories.
    Moderations,
    /// `…/chat/completions`: a model made for this, or any that follows an instruction.
    Chat,
    /// `…/embeddings`: likeness to sentences that are known.
    Embeddings,
}

/// How to reach it.
#[derive(Clone)]
pub struct GuardSettings {
    /// Full address of the API.
    pub url: Url,
    /// Which API it is.
    pub kind: GuardKind,
    /// Name of the model, where the API wants one.
    pub model: Option<String>,
    /// Key sent as a bearer token.
    pub key: Option<Secret>,
    /// Longest time that an answer waits for the opinion.
    pub deadline: Duration,
}

/// A second opinion.
#[derive(Debug)]
pub struct Guard {
    client: Client,
    settings: GuardSettings,
    references: References,
    breaker: GuardBreaker,
    metrics: GuardMetrics,
}

impl GuardKind {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Moderations, Self::Chat, Self::Embeddings];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Moderations => "moderations",
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
        }
    }

    /// How its address ends.
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

/// There is no such kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is none of moderations, chat, embeddings")]
pub struct UnknownKind;

impl FromStr for GuardKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == text.trim()).ok_or(UnknownKind)
    }
}

/// The text is no address of the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardUrlError {
    /// Not an address at all.
    #[error("not an address: {0}")]
    Malformed(#[from] url::ParseError),
    /// Neither http nor https.
    #[error("must begin with http:// or https:// and name a host")]
    Scheme,
    /// A base address, or that of another API.
    #[error("is not the full address of a {kind} API, which ends in {}", kind.endpoint())]
    Endpoint {
        /// The API that was meant.
        kind: GuardKind,
    },
}

impl fmt::Debug for GuardSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An address may hold a password.
        let Self { url: _, kind, model, key: _, deadline } = self;
        write!(f, "GuardSettings({kind} at {}, {model:?}, {deadline:?})", self.host())
    }
}

impl GuardSettings {
    /// Parses an address of the configuration, where a base address is a common mistake.
    ///
    /// # Errors
    ///
    /// It is no address, or not that of an API of this `kind`.
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
    /// A client for the API of `settings`, counted in `metrics`. Opens no connection yet.
    ///
    /// # Errors
    ///
    /// See [`GuardError`].
    pub fn new(settings: GuardSettings, metrics: GuardMetrics) -> Result<Self, GuardError> {
        let client = Client::new(&settings)?;
        Ok(Self { client, settings, references: References::default(), breaker: GuardBreaker::default(), metrics })
    }

    /// Learns what is needed for an opinion, trying until it succeeds. Until then there is none.
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

    /// Asks how grave `text` is. `None` where there is no opinion: it fails, is late, or is left alone after failures.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the call; it is not counted then.
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
            // It is not prepared.
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
            tracing::warn!(pause_s = pause.as_secs(), error = failure, "no second opinion for now (GUARD_URL)");
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
