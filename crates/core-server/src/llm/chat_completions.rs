//! An OpenAI-compatible `chat/completions` API with `stream: true`.

use std::sync::Arc;
use std::time::SystemTime;

use protocol::UserText;
use protocol::server_frame::{Finish, Usage};
use reqwest::header::{ACCEPT, HeaderMap, RETRY_AFTER};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::breaker::Breaker;
use super::calls::{Call, Calls};
use super::connects::CountConnects;
use super::error::LlmError;
use super::retry::parse_retry_after;
use super::sse::{Event, Events};
use super::{Asked, CallContext, CallTimes, ChatMessage, LlmSettings, ProviderSettings};
use crate::metrics::{CallOutcome, ProviderMetrics};

/// One provider of a model.
#[derive(Debug)]
pub(super) struct Provider {
    http: reqwest::Client,
    settings: ProviderSettings,
    times: CallTimes,
    name: String,
    breaker: Breaker,
    metrics: Arc<ProviderMetrics>,
    calls: Calls,
}

impl PartialEq for Provider {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// An answer that has begun: its first piece is there.
#[derive(Debug)]
pub struct Answer<'a> {
    provider: &'a Provider,
    first: Option<String>,
    /// A word has come.
    begun: bool,
    events: Events,
    /// When the whole call has to be over.
    deadline: Instant,
    times: CallTimes,
    finish: Option<Finish>,
    usage: Option<Usage>,
    /// There once its first piece is.
    call: Option<Call<'a>>,
}

#[derive(Serialize)]
struct RequestBody<'a> {
    model: &'a str,
    messages: &'a [ChatMessage],
    temperature: f32,
    max_tokens: u32,
    stream: bool,
    stream_options: StreamOptions,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// The client for the model cannot be made: the system's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("no HTTPS client for the model: {0}")]
pub struct ModelError(#[from] reqwest::Error);

impl Provider {
    /// A client for the provider of `settings`, which is called `name`. Opens no connection yet.
    ///
    /// # Errors
    ///
    /// See [`ModelError`].
    pub(super) fn new(
        name: String,
        provider: ProviderSettings,
        settings: &LlmSettings,
        metrics: ProviderMetrics,
    ) -> Result<Self, ModelError> {
        let (metrics, times) = (Arc::new(metrics), settings.times);
        let http = reqwest::Client::builder()
            .connect_timeout(times.connect)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(settings.max_connections)
            .connector_layer(CountConnects(Arc::clone(&metrics)))
            .build()?;
        let breaker = Breaker::new(name.clone(), Arc::clone(&metrics));
        let calls = Calls::new(settings.max_connections, times.connect, Arc::clone(&metrics));
        Ok(Self { http, settings: provider, times, name, breaker, metrics, calls })
    }

    /// What it is called in logs.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub(super) fn weight(&self) -> u32 {
        self.settings.weight
    }

    pub(super) fn metrics(&self) -> &ProviderMetrics {
        &self.metrics
    }

    /// Makes one call and waits for the first piece of the answer, until `give_up` at the latest.
    pub(super) async fn attempt(
        &self,
        messages: &[ChatMessage],
        asked: Asked,
        context: CallContext,
        give_up: Instant,
    ) -> Result<Answer<'_>, LlmError> {
        let times = self.times;
        let begin = Instant::now();
        let deadline = begin + times.total;
        let limit = times.first_token.min(times.total).min(give_up.saturating_duration_since(begin));
        // The wait is part of the time for the first piece.
        let mut call = self.calls.begin(begin + limit).await?;
        let open = async {
            let response = self.request(messages, asked, context).send().await.map_err(unreachable)?;
            let status = response.status();
            if !status.is_success() {
                return Err(LlmError::Status { status: status.as_u16(), retry_after: retry_after(response.headers()) });
            }
            let mut answer = Answer {
                provider: self,
                first: None,
                begun: false,
                events: Events::new(response.bytes_stream()),
                deadline,
                times,
                finish: None,
                usage: None,
                call: None,
            };
            answer.first = answer.piece().await?;
            if answer.first.is_some() { Ok(answer) } else { Err(LlmError::Empty) }
        };
        let late = LlmError::Timeout { waiting_for: "first token", limit };
        match timeout_at(begin + limit, open).await.unwrap_or(Err(late)) {
            Ok(answer) => Ok(Answer { call: Some(call), ..answer }),
            Err(error) => {
                call.ending(error.outcome());
                Err(error)
            }
        }
    }

    fn request(&self, messages: &[ChatMessage], asked: Asked, context: CallContext) -> reqwest::RequestBuilder {
        let settings = &self.settings;
        let body = RequestBody {
            model: &settings.model,
            messages,
            temperature: asked.temperature,
            max_tokens: asked.max_tokens,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
        };
        let request = self
            .http
            .post(settings.url.0.clone())
            .header(ACCEPT, "text/event-stream")
            .header("x-request-id", context.label.to_string())
            .header("traceparent", context.trace.to_string())
            .json(&body);
        match &settings.key {
            Some(key) => request.bearer_auth(key.expose()),
            None => request,
        }
    }
}

impl Answer<'_> {
    /// The model that gives it.
    pub fn model(&self) -> &str {
        &self.provider.settings.model
    }

    /// The next piece; `None` when the answer is complete.
    ///
    /// # Errors
    ///
    /// The stream broke, went silent for too long, or is not the API's. What came before
    /// is all there will be.
    ///
    /// # Cancel safety
    ///
    /// Safe: what has been read is not lost.
    pub async fn next(&mut self) -> Option<Result<UserText, LlmError>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(UserText::new(first)));
        }
        let times = self.times;
        let silent = Instant::now() + times.silence;
        let (until, waiting_for, limit) = if silent < self.deadline {
            (silent, "next piece", times.silence)
        } else {
            (self.deadline, "end of the answer", times.total)
        };
        let piece = timeout_at(until, self.piece()).await;
        let piece = piece.unwrap_or(Err(LlmError::Timeout { waiting_for, limit }));
        if piece.is_err() {
            self.provider.breaker.failed(Instant::now());
        }
        if let Some(call) = &mut self.call {
            call.ending(match &piece {
                Ok(Some(_)) => CallOutcome::Cancelled,
                Ok(None) => CallOutcome::Whole,
                Err(error) => error.outcome(),
            });
        }
        piece.map(|text| text.map(UserText::new)).transpose()
    }

    /// How the model ended its answer; known after [`Answer::next`] gave `None`.
    pub fn finish(&self) -> Finish {
        self.finish.unwrap_or(Finish::Stop)
    }

    /// Tokens counted, if the provider tells.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    async fn piece(&mut self) -> Result<Option<String>, LlmError> {
        while let Some(event) = self.events.next().await {
            match event? {
                // Many models begin with a space or a line break that belongs to no word.
                Event::Text(text) if !self.begun => {
                    let text = text.trim_start();
                    self.begun = !text.is_empty();
                    if self.begun {
                        return Ok(Some(text.to_owned()));
                    }
                }
                Event::Text(text) => return Ok(Some(text)),
                Event::Finish(reason) => {
                    self.finish = Some(if reason == "length" { Finish::Length } else { Finish::Stop });
                }
                Event::Usage(usage) => self.usage = Some(usage),
                Event::Nothing => {}
                Event::Done => return Ok(None),
            }
        }
        // Some servers end the stream without `[DONE]`; without a finish reason it was cut.
        if self.finish.is_some() { Ok(None) } else { Err(LlmError::Cut) }
    }
}

fn unreachable(error: reqwest::Error) -> LlmError {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        reason = cause.to_string();
        source = cause.source();
    }
    LlmError::Unreachable { reason }
}

#[expect(clippy::disallowed_methods, reason = "a Retry-After date is calendar time, seen at the edge")]
fn retry_after(headers: &HeaderMap) -> Option<std::time::Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    parse_retry_after(value, SystemTime::now())
}
