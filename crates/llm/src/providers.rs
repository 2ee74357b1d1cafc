//! Failover over the providers of a model, with the only retry loop of the crate.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use service_runtime::metrics::IntCounter;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::breaker::{Availability, CallPermit};
use super::breaker_state::BreakerState;
use super::completion_stream::CompletionStream;
use super::error::LlmError;
use super::health::{Health, Problem, Readiness};
use super::metrics::ModelMetrics;
use super::provider::{ModelError, Provider, SharedParts};
use super::request::CompletionRequest;
use super::tokens::DailyTokens;
use super::{CallContext, ChatMessage, LlmSettings, ProviderSettings, SamplingParams, startup_check};

/// A failure later than this counts as a timeout: the person has waited in vain all the same.
const SLOW_FAILURE: Duration = Duration::from_secs(3);

/// A model behind one provider or several.
#[derive(Debug)]
pub struct Model {
    providers: Vec<Provider>,
    settings: LlmSettings,
    retries: IntCounter,
    /// Notified when a breaker opens.
    opened: Arc<Notify>,
    health: Health,
    tokens: Arc<DailyTokens>,
}

impl Model {
    /// Creates the clients of the providers in `settings`, behind the proxies of the environment (`HTTP_PROXY`,
    /// `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`). Opens no connection yet.
    ///
    /// # Errors
    ///
    /// See [`ModelError`].
    pub fn new(settings: LlmSettings, metrics: &ModelMetrics) -> Result<Self, ModelError> {
        let (proxies, opened) = (Matcher::from_env(), Arc::new(Notify::new()));
        let shared = SharedParts { settings: &settings, proxies: &proxies, opened: &opened };
        let provider = |(name, provider): (String, &ProviderSettings)| {
            let metrics = metrics.provider(&name);
            Provider::new(name, provider.clone(), metrics, shared)
        };
        let named = names(&settings.providers).into_iter().zip(&settings.providers);
        let providers = named.map(provider).collect::<Result<_, _>>()?;
        let models = settings.providers.iter().map(|provider| provider.model.as_str());
        let health = Health::new(models);
        let tokens = Arc::new(DailyTokens::new(settings.tokens, metrics.tokens.clone()));
        Ok(Self { providers, retries: metrics.retries.clone(), opened, health, tokens, settings })
    }

    /// Daily token count.
    pub fn tokens(&self) -> &DailyTokens {
        &self.tokens
    }

    /// True while no ordinary call can be made: every breaker is open or half-open, or the day's tokens are used up.
    pub fn is_unavailable(&self) -> bool {
        let now = Instant::now();
        self.tokens.is_used_up() || self.all_breakers_open(now)
    }

    /// True if no breaker is closed.
    fn all_breakers_open(&self, now: Instant) -> bool {
        self.providers.iter().all(|provider| provider.breaker().state_at(now) != BreakerState::Closed)
    }

    /// Waits until [`is_unavailable`](Self::is_unavailable).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn became_unavailable(&self) {
        loop {
            // Subscribed *before* the check, or a breaker that opens in between would be missed.
            let opened = self.opened.notified();
            if self.is_unavailable() {
                return;
            }
            opened.await;
        }
    }

    /// True if a call made now could reach a provider: at once, after a backoff, or as a probe. Otherwise waiting for a
    /// permit is pointless.
    pub fn can_attempt(&self) -> bool {
        if self.tokens.is_used_up() {
            return false;
        }
        let (now, longest) = (Instant::now(), self.settings.backoff.max);
        let is_probing = self.providers.iter().any(|provider| provider.breaker().is_probing());
        self.providers.iter().any(|provider| match provider.breaker().availability(now) {
            Availability::ReadyIn(rest) => rest <= longest,
            Availability::BreakerOpen => !is_probing && provider.breaker().can_probe(now),
        })
    }

    /// Readiness of the model.
    pub fn readiness(&self) -> Readiness {
        // A used-up daily limit has a check of its own.
        self.health.readiness(self.all_breakers_open(Instant::now()))
    }

    /// Checks every provider once, free of charge, and logs the finding. Only certain findings change the readiness.
    pub async fn check(&self) {
        startup_check::check(&self.providers, &self.health).await;
    }

    /// Refreshes the gauges.
    pub fn refresh_metrics(&self, metrics: &ModelMetrics) {
        let now = Instant::now();
        metrics.set_tokens(self.tokens.used(), self.tokens.limit());
        for provider in &self.providers {
            provider.metrics().set_breaker(provider.breaker().state_at(now));
        }
    }

    /// Requests an answer and waits for its first token.
    ///
    /// Tries the providers in order, skipping open breakers; when all have failed, backs off and retries, within
    /// `tries` and the deadline over all of it. While every breaker is open, one call at a time probes a provider
    /// early; any other fails at once, also during a backoff. After the first token a call is never retried: the person
    /// has read it. `temperature_at_most` caps the configured temperature.
    ///
    /// # Errors
    ///
    /// The error of the last attempt.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or later the stream, cancels the call at the provider.
    pub async fn stream_completion(
        &self,
        messages: &[ChatMessage],
        temperature_at_most: Option<f32>,
        context: CallContext,
    ) -> Result<CompletionStream<'_>, LlmError> {
        self.check_tokens()?;
        self.request_in_rounds(messages, temperature_at_most, context).await.map_err(|failure| {
            let several = 1 < self.providers.len();
            // An opened breaker is only the consequence of failures recorded already.
            let cause = failure.as_ref().filter(|(_, error)| !matches!(error, LlmError::BreakerOpened));
            self.health.unanswered(cause.map(|(provider, error)| Problem::new(provider, error, several)));
            error_of(failure)
        })
    }

    /// Like [`stream_completion`](Self::stream_completion), for a message whose first prompt was rejected: a failure
    /// does not count for the readiness again.
    ///
    /// # Errors
    ///
    /// The error of the last attempt.
    ///
    /// # Cancel safety
    ///
    /// As [`Model::stream_completion`].
    pub async fn retry_completion(
        &self,
        messages: &[ChatMessage],
        temperature_at_most: Option<f32>,
        context: CallContext,
    ) -> Result<CompletionStream<'_>, LlmError> {
        self.check_tokens()?;
        self.request_in_rounds(messages, temperature_at_most, context).await.map_err(error_of)
    }

    /// Runs the retry rounds and records an answer for the readiness.
    async fn request_in_rounds(
        &self,
        messages: &[ChatMessage],
        temperature_at_most: Option<f32>,
        context: CallContext,
    ) -> Result<CompletionStream<'_>, Option<Failure<'_>>> {
        let request = self.request(messages, self.sampling(temperature_at_most), context);
        let answer = self.retry_rounds(&request).await?;
        self.health.answered();
        Ok(answer)
    }

    /// Requests a background completion: one attempt, at the first provider with a closed breaker. Background calls
    /// never probe a half-open breaker: a probe decides for every waiting person.
    ///
    /// # Errors
    ///
    /// The provider's, or [`LlmError::NoProvider`].
    ///
    /// # Cancel safety
    ///
    /// As [`Model::stream_completion`].
    pub async fn try_once(
        &self,
        messages: &[ChatMessage],
        sampling: SamplingParams,
        context: CallContext,
    ) -> Result<CompletionStream<'_>, LlmError> {
        self.check_tokens()?;
        let now = Instant::now();
        let permits = self.order().into_iter().map(|provider| Some((provider, provider.breaker().closed_permit(now)?)));
        let (provider, permit) = permits.flatten().next().ok_or(LlmError::NoProvider)?;
        let answer = attempt(provider, permit, &self.request(messages, sampling, context)).await?;
        self.health.answered();
        Ok(answer)
    }

    fn sampling(&self, temperature_at_most: Option<f32>) -> SamplingParams {
        let sampling = self.settings.sampling;
        SamplingParams {
            temperature: temperature_at_most.map_or(sampling.temperature, |most| sampling.temperature.min(most)),
            ..sampling
        }
    }

    /// Checks the daily limit right before the call: other calls may have used it up during the wait for a permit.
    fn check_tokens(&self) -> Result<(), LlmError> {
        if self.tokens.is_used_up() { Err(LlmError::NoProvider) } else { Ok(()) }
    }

    fn request<'a>(
        &'a self,
        messages: &'a [ChatMessage],
        sampling: SamplingParams,
        context: CallContext,
    ) -> CompletionRequest<'a> {
        let first_token_limit = self.settings.deadline;
        let (deadline, tokens) = (Instant::now() + first_token_limit, &self.tokens);
        CompletionRequest { messages, sampling, context, deadline, first_token_limit, tokens }
    }

    /// Retry rounds over the providers; returns the last failure, `None` if no attempt was made.
    async fn retry_rounds(&self, request: &CompletionRequest<'_>) -> Result<CompletionStream<'_>, Option<Failure<'_>>> {
        let (mut order, mut rounds, mut last) = (self.order(), 0, None);
        loop {
            let failures = match self.round(&order, request, rounds == 0).await {
                Ok(answer) => return Ok(answer),
                Err(failures) => failures,
            };
            // A round without an attempt (every provider honors a Retry-After) is no retry.
            rounds += u32::from(!failures.is_empty());
            order
                .retain(|provider| !failures.iter().any(|(failed, error)| failed == provider && !error.is_transient()));
            let pause = self.pause(&order, &failures, rounds, request.deadline);
            let has_attempted = !failures.is_empty();
            last = failures.into_iter().last().or(last);
            let Some(pause) = pause.filter(|_| rounds < self.settings.tries) else { return Err(last) };
            if has_attempted {
                self.retries.inc();
            }
            tokio::select! {
                biased;
                () = sleep(pause) => {}
                () = self.became_unavailable() => return Err(last),
            }
        }
    }

    /// Tries each provider of `order` whose breaker permits it. If none does, and `early`, probes the one whose breaker
    /// half-opens soonest, unless a probe is in flight: one probe at a time bounds the cost of an outage.
    async fn round<'a>(
        &'a self,
        order: &[&'a Provider],
        request: &CompletionRequest<'_>,
        early: bool,
    ) -> Result<CompletionStream<'a>, Vec<Failure<'a>>> {
        let mut failures = Vec::new();
        for provider in order {
            if let Some(permit) = provider.breaker().permit(Instant::now()) {
                match attempt(provider, permit, request).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => failures.push((*provider, error)),
                }
            }
        }
        let is_early = early && failures.is_empty() && !order.iter().any(|provider| provider.breaker().is_probing());
        let soonest = order.iter().min_by_key(|provider| provider.breaker().open_until()).filter(|_| is_early);
        if let Some((provider, permit)) =
            soonest.and_then(|provider| Some((provider, provider.breaker().early_probe(Instant::now())?)))
        {
            match attempt(provider, permit, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failures.push((*provider, error)),
            }
        }
        Err(failures)
    }

    /// Backoff until the next provider of `order` accepts a call; `None` if none does within the longest pause and the
    /// deadline. Open breakers are not waited for.
    fn pause(&self, order: &[&Provider], failures: &[Failure<'_>], rounds: u32, deadline: Instant) -> Option<Duration> {
        let (now, backoff) = (Instant::now(), self.settings.backoff);
        let pause = |provider: &&Provider| {
            let Availability::ReadyIn(rest) = provider.breaker().availability(now) else { return None };
            let failure = failures.iter().find(|(failed, _)| failed == provider);
            Some(failure.map_or(rest, |(_, error)| rest.max(backoff.pause(rounds, error))))
        };
        order.iter().filter_map(pause).min().filter(|pause| *pause <= backoff.max && now + *pause < deadline)
    }

    /// Order of attempts: the first is drawn by weight if there are weights; the others follow as configured.
    fn order(&self) -> Vec<&Provider> {
        let mut order: Vec<&Provider> = self.providers.iter().collect();
        let total: u32 = order.iter().map(|provider| provider.weight()).sum();
        if 0 < total {
            let mut drawn = fastrand::u32(0..total);
            let first = order.iter().position(|provider| {
                let here = drawn < provider.weight();
                drawn = drawn.saturating_sub(provider.weight());
                here
            });
            order[..=first.unwrap_or_default()].rotate_right(1);
        }
        order
    }
}

/// Unique names of the providers.
fn names(providers: &[ProviderSettings]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for provider in providers {
        let name = provider.url.host_and_model(&provider.model);
        let same = names.iter().filter(|other| **other == name || other.starts_with(&format!("{name}#"))).count();
        names.push(if same == 0 { name } else { format!("{name}#{}", same + 1) });
    }
    names
}

/// A failed attempt.
type Failure<'a> = (&'a Provider, LlmError);

fn error_of(failure: Option<Failure<'_>>) -> LlmError {
    failure.map_or(LlmError::NoProvider, |(_, error)| error)
}

/// Makes one attempt with `permit`. A call that is no probe is abandoned when timeouts of others open the breaker:
/// waiting on would cost the person the whole limit.
async fn attempt<'a>(
    provider: &'a Provider,
    permit: CallPermit<'a>,
    request: &CompletionRequest<'_>,
) -> Result<CompletionStream<'a>, LlmError> {
    // Subscribed *before* the call begins.
    let (begin, opened) = (Instant::now(), provider.breaker().opened_by_timeouts());
    let attempted = tokio::select! {
        biased;
        attempted = provider.attempt(request) => attempted,
        () = opened, if !permit.is_probe() => Err(LlmError::BreakerOpened),
    };
    let error = match attempted {
        Ok(answer) => return Ok(answer.counted_by(permit)),
        Err(error) => error,
    };
    tracing::warn!(
        llm.provider = %provider.name(), error.code = error.code(), error.param = error.param(), %error,
        "model call failed"
    );
    let now = Instant::now();
    match &error {
        error if !error.is_provider_fault() => drop(permit),
        // A late failure costs the person as much as a timeout.
        error if error.is_timeout() || SLOW_FAILURE <= now - begin => permit.timed_out(now),
        _ => permit.failed(now),
    }
    // Only for faults of the provider: the rejection of one person's message must not hold up the others.
    if let Some(after) = error.retry_after().filter(|_| error.is_provider_fault()) {
        provider.breaker().honor_retry_after(now, after);
    }
    Err(error)
}

#[cfg(test)]
mod tests;
