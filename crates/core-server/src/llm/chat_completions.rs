//! An OpenAI-compatible `chat/completions` API with `stream: true`.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hyper::Response;
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper_util::client::proxy::matcher::Matcher;
use protocol::UserText;
use protocol::server_frame::{Finish, Usage};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::breaker::{Breaker, Permit};
use super::calls::{Call, Calls};
use super::error::LlmError;
use super::error_body::ErrorBody;
use super::http::{Connections, HttpClient, ResponseBody};
use super::quirks::{LearntQuirks, MAX_LESSONS, Quirks};
use super::request::{CompletionRequest, RequestParts};
use super::rests::{self, Rests};
use super::retry::parse_retry_after;
use super::sse::{Event, Events};
use super::{CallTimes, LlmSettings, ProviderSettings};
use crate::metrics::{CallOutcome, ProviderMetrics};

/// Share of the longest wait for a first piece that a call must have had for its timeout to count against the
/// provider; less, and the time was used up by the calls before it.
const FAIR_SHARE: f64 = 0.95;

/// One provider of a model.
#[derive(Debug)]
pub(super) struct Provider {
    http: HttpClient,
    request: RequestParts,
    quirks: LearntQuirks,
    settings: ProviderSettings,
    times: CallTimes,
    name: String,
    breaker: Breaker,
    metrics: Arc<ProviderMetrics>,
    calls: Calls,
    rests: Rests,
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
    /// Until its outcome is known.
    permit: Option<Permit<'a>>,
    first: Option<String>,
    /// A word has come.
    begun: bool,
    /// Until nothing is left to be read.
    events: Option<Events>,
    /// When the whole call has to be over.
    deadline: Instant,
    times: CallTimes,
    finish: Option<Finish>,
    usage: Option<Usage>,
    /// There once its first piece is, until the answer is complete.
    call: Option<Call>,
}

/// The client for the model cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The system's certificates cannot be used.
    #[error("no HTTPS client for the model: {0}")]
    Tls(#[from] rustls::Error),
    /// A key cannot be sent.
    #[error("the key of {provider} has characters that no HTTP header may have")]
    Key {
        /// What the provider is called.
        provider: String,
    },
}

/// Why there is no answer, and what is left of the response to be read.
type Failed = (LlmError, Option<BoxFuture<'static, ()>>);

impl Provider {
    /// A client for the provider of `settings`, which is called `name`, by way of what `proxies` says. Opens no
    /// connection yet. `opened` is notified whenever its breaker opens.
    ///
    /// # Errors
    ///
    /// See [`ModelError`].
    pub(super) fn new(
        name: String,
        provider: ProviderSettings,
        settings: &LlmSettings,
        proxies: &Matcher,
        (metrics, opened): (ProviderMetrics, Arc<Notify>),
    ) -> Result<Self, ModelError> {
        let (metrics, times) = (Arc::new(metrics), settings.times);
        let connections = Connections { connect: times.connect, most_idle: settings.max_connections };
        let request = RequestParts::to(&provider).ok_or_else(|| ModelError::Key { provider: name.clone() })?;
        let http = HttpClient::new(provider.url.uri.clone(), proxies, connections, Arc::clone(&metrics))?;
        let breaker = Breaker::new(name.clone(), Arc::clone(&metrics), opened);
        let calls = Calls::new(settings.max_connections, times.connect, Arc::clone(&metrics));
        Ok(Self {
            http,
            request,
            quirks: LearntQuirks::default(),
            settings: provider,
            times,
            name,
            breaker,
            metrics,
            calls,
            rests: Rests::new(),
        })
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

    /// The model that is asked for.
    pub(super) fn model(&self) -> &str {
        &self.settings.model
    }

    /// The models that the provider has, as it lists them; `None` if its address is not one beside which there is a
    /// list.
    pub(super) async fn list_models(&self) -> Option<Result<Response<ResponseBody>, LlmError>> {
        let models = self.settings.url.models()?;
        let listed = self.http.get(models, self.request.headers_to_read()).await;
        Some(listed.map_err(|error| unreachable(&error)))
    }

    /// Makes one call and waits for the first piece of the answer, until the request's deadline at the latest. A
    /// refusal that names a part of the request is learnt from: the call is then made again, without that part.
    pub(super) async fn attempt(&self, request: &CompletionRequest<'_>) -> Result<Answer<'_>, LlmError> {
        let times = self.times;
        let begin = Instant::now();
        let longest = times.first_token.min(times.total).min(request.patience);
        let left = request.deadline.saturating_duration_since(begin);
        let limit = longest.min(left);
        let mut lessons = 0;
        loop {
            let sent = self.quirks.current();
            match self.call(request, sent, begin + limit).await {
                // Other calls have used up the time: this provider had no fair share of it.
                Err(LlmError::Timeout { .. }) if left < longest.mul_f64(FAIR_SHARE) => {
                    return Err(LlmError::Deadline { left });
                }
                Err(error) if lessons < MAX_LESSONS && self.quirks.learn(sent, &error) => lessons += 1,
                Err(LlmError::Timeout { waiting_for, .. }) => return Err(LlmError::Timeout { waiting_for, limit }),
                answered => return answered,
            }
        }
    }

    /// One request, in the words of a provider with these quirks.
    async fn call(
        &self,
        request: &CompletionRequest<'_>,
        quirks: Quirks,
        give_up: Instant,
    ) -> Result<Answer<'_>, LlmError> {
        // The wait is part of the time for the first piece.
        let mut call = self.calls.begin(give_up).await?;
        let begin = Instant::now();
        let limit = give_up.saturating_duration_since(begin);
        let late = LlmError::Timeout { waiting_for: "first token", limit };
        let opened = timeout_at(give_up, self.open(request, quirks, begin + self.times.total)).await;
        let (error, rest) = match opened.unwrap_or(Err((late, None))) {
            Ok(answer) => return Ok(Answer { call: Some(call), ..answer }),
            Err(failed) => failed,
        };
        call.ended(error.outcome());
        if let Some(rest) = rest {
            self.rests.read(rest, call);
        }
        Err(error)
    }

    async fn open(
        &self,
        request: &CompletionRequest<'_>,
        quirks: Quirks,
        deadline: Instant,
    ) -> Result<Answer<'_>, Failed> {
        let (headers, body) = (self.request.headers(request.context), self.request.body(request, quirks));
        let response = self.http.post(headers, body).await.map_err(|error| (unreachable(&error), None))?;
        let status = response.status();
        if !status.is_success() {
            let retry_after = retry_after(response.headers());
            let mut body = response.into_body();
            let facts = Box::new(ErrorBody::read(&mut body).await);
            let error = LlmError::Status { status: status.as_u16(), retry_after, body: facts };
            return Err((error, Some(rests::skip(body).boxed())));
        }
        let mut answer = Answer {
            provider: self,
            permit: None,
            first: None,
            begun: false,
            events: Some(Events::new(response.into_body())),
            deadline,
            times: self.times,
            finish: None,
            usage: None,
            call: None,
        };
        answer.first = answer.piece().await.map_err(|error| (error, None))?;
        if answer.first.is_some() { Ok(answer) } else { Err((LlmError::Empty, answer.rest())) }
    }
}

impl<'a> Answer<'a> {
    /// Has the outcome of the answer counted by the breaker that gave `permit` to the call.
    pub(super) fn counted_by(mut self, mut permit: Permit<'a>) -> Self {
        permit.begun();
        self.permit = Some(permit);
        self
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
        match &piece {
            Ok(Some(_)) => {}
            Ok(None) => self.completed(),
            Err(error) => {
                if let Some(permit) = self.permit.take() {
                    permit.failed(Instant::now());
                }
                if let Some(call) = &mut self.call {
                    call.ended(error.outcome());
                }
            }
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

    /// Whoever awaits the answer does not wait for the end of the response too.
    fn completed(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.succeeded();
        }
        if let Some(mut call) = self.call.take() {
            call.ended(CallOutcome::Whole);
            if let Some(rest) = self.rest() {
                self.provider.rests.read(rest, call);
            }
        }
    }

    /// What is left to be read after `[DONE]`.
    fn rest(&mut self) -> Option<BoxFuture<'static, ()>> {
        self.events.take().map(|events| events.rest().boxed())
    }

    async fn piece(&mut self) -> Result<Option<String>, LlmError> {
        let Some(events) = &mut self.events else { return Ok(None) };
        while let Some(event) = events.next().await {
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
        self.events = None;
        // Some servers end the stream without `[DONE]`; without a finish reason it was cut.
        if self.finish.is_some() { Ok(None) } else { Err(LlmError::Cut) }
    }
}

fn unreachable(error: &(dyn std::error::Error + 'static)) -> LlmError {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    LlmError::Unreachable { reason: cause.to_string() }
}

#[expect(clippy::disallowed_methods, reason = "a Retry-After date is calendar time, seen at the edge")]
fn retry_after(headers: &HeaderMap) -> Option<std::time::Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    parse_retry_after(value, SystemTime::now())
}
