//! The providers of a model, in order, and the one loop that tries again.

use std::sync::Arc;
use std::time::Duration;

use boot::metrics::IntCounter;
use hyper_util::client::proxy::matcher::Matcher;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::breaker::{Availability, CallPermit};
use super::chat_completions::{ModelError, Provider};
use super::completion_stream::CompletionStream;
use super::error::LlmError;
use super::health::{Health, Problem, Readiness};
use super::request::CompletionRequest;
use super::tokens::DailyTokens;
use super::{CallContext, ChatMessage, LlmSettings, ProviderSettings, SamplingParams, startup_check};
use crate::metrics::{BreakerState, ModelMetrics};

/// A call that fails later than this counts as one that was met with silence: a person has waited for it in vain.
const SLOW_FAILURE: Duration = Duration::from_secs(3);

/// A model behind one provider or several.
#[derive(Debug)]
pub struct Model {
    providers: Vec<Provider>,
    settings: LlmSettings,
    retries: IntCounter,
    /// A breaker has opened.
    opened: Arc<Notify>,
    health: Health,
    tokens: Arc<DailyTokens>,
}

impl Model {
    /// A client for the providers of `settings`, counted in `metrics`, by way of the proxies that the environment
    /// names (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`). Opens no connection yet.
    ///
    /// # Errors
    ///
    /// See [`ModelError`].
    pub fn new(settings: LlmSettings, metrics: &ModelMetrics) -> Result<Self, ModelError> {
        let (proxies, opened) = (Matcher::from_env(), Arc::new(Notify::new()));
        let provider = |(name, provider): (String, &ProviderSettings)| {
            let metrics = metrics.provider(&name);
            Provider::new(name, provider.clone(), &settings, &proxies, (metrics, Arc::clone(&opened)))
        };
        let named = names(&settings.providers).into_iter().zip(&settings.providers);
        let providers = named.map(provider).collect::<Result<_, _>>()?;
        let models = settings.providers.iter().map(|provider| provider.model.as_str());
        let health = Health::new(models);
        let tokens = Arc::new(DailyTokens::new(settings.tokens, metrics.tokens.clone()));
        Ok(Self { providers, retries: metrics.retries.clone(), opened, health, tokens, settings })
    }

    /// Tokens used today.
    pub fn tokens(&self) -> &DailyTokens {
        &self.tokens
    }

    /// Whether no provider is asked as usual: each is left alone, or being tried, or the tokens of the day are used up.
    pub fn is_unavailable(&self) -> bool {
        let now = Instant::now();
        self.tokens.is_used_up() || self.all_breakers_open(now)
    }

    fn all_breakers_open(&self, now: Instant) -> bool {
        self.providers.iter().all(|provider| provider.breaker().state_at(now) != BreakerState::Closed)
    }

    /// Waits until no provider is asked as usual.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn became_unavailable(&self) {
        loop {
            // Made before the look: a breaker that opens in between is not missed.
            let opened = self.opened.notified();
            if self.is_unavailable() {
                return;
            }
            opened.await;
        }
    }

    /// Whether a call that is made now may reach a provider: as usual, after a pause, or to find out whether it is
    /// back. Otherwise there is no use in a slot for it.
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

    /// Whether answers come from the model, as far as is known.
    pub fn readiness(&self) -> Readiness {
        // That the day's tokens are used up is said apart.
        self.health.readiness(self.all_breakers_open(Instant::now()))
    }

    /// Asks every provider once, without cost, whether it is there and has the model, and logs what it says. What says
    /// nothing for certain changes nothing.
    pub async fn check(&self) {
        startup_check::check(&self.providers, &self.health).await;
    }

    /// Tells how its providers are now.
    pub fn refresh_metrics(&self, metrics: &ModelMetrics) {
        let now = Instant::now();
        metrics.set_tokens(self.tokens.used(), self.tokens.limit());
        for provider in &self.providers {
            provider.metrics().set_breaker(provider.breaker().state_at(now));
        }
    }

    /// Asks for an answer and waits for its first piece. The providers are asked one after
    /// another, those that are left alone by their breaker excepted; when all have failed, again
    /// after a pause, as often as `tries` and the deadline over all of it allow. Where every breaker is open, one
    /// call at a time asks all the same; any other ends at once, also one that is in a pause. Once a piece is
    /// there the call is never repeated. A temperature that is configured higher than `temperature_at_most` is lowered to
    /// that.
    ///
    /// # Errors
    ///
    /// The error of the last try.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or later the answer, ends the call at the provider.
    pub async fn stream_completion(
        &self,
        messages: &[ChatMessage],
        temperature_at_most: Option<f32>,
        context: CallContext,
    ) -> Result<CompletionStream<'_>, LlmError> {
        self.check_tokens()?;
        self.ask(messages, temperature_at_most, context).await.map_err(|failure| {
            let several = 1 < self.providers.len();
            // That it is left alone is the consequence of what is remembered already.
            let told = failure.as_ref().filter(|(_, error)| !matches!(error, LlmError::BreakerOpened));
            self.health.unanswered(told.map(|(provider, error)| Problem::new(provider, error, several)));
            error_of(failure)
        })
    }

    /// The same, once more for a message whose first prompt was refused: as a message without an answer it is counted
    /// already.
    ///
    /// # Errors
    ///
    /// The error of the last try.
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
        self.ask(messages, temperature_at_most, context).await.map_err(error_of)
    }

    /// Asks in rounds; an answer counts for the health. The failure is that of the last try.
    async fn ask(
        &self,
        messages: &[ChatMessage],
        temperature_at_most: Option<f32>,
        context: CallContext,
    ) -> Result<CompletionStream<'_>, Option<Failure<'_>>> {
        let request = self.request(messages, self.sampling(temperature_at_most), context);
        let answer = self.ask_in_rounds(&request).await?;
        self.health.answered();
        Ok(answer)
    }

    /// Asks for something that no person waits for: one provider, once, and only one whose breaker is
    /// closed. To find out whether a provider is back is left to calls that a person waits for.
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
        let answer = ask(provider, permit, &self.request(messages, sampling, context)).await?;
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

    /// The last look: messages wait for a slot, and others may have used up the day's tokens meanwhile.
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

    /// Rounds over the providers, with pauses; the last failure, if any was asked.
    async fn ask_in_rounds(
        &self,
        request: &CompletionRequest<'_>,
    ) -> Result<CompletionStream<'_>, Option<Failure<'_>>> {
        let (mut order, mut rounds, mut last) = (self.order(), 0, None);
        loop {
            let failures = match self.round(&order, request, rounds == 0).await {
                Ok(answer) => return Ok(answer),
                Err(failures) => failures,
            };
            // A wait for a provider that rests is no try.
            rounds += u32::from(!failures.is_empty());
            order
                .retain(|provider| !failures.iter().any(|(failed, error)| failed == provider && !error.is_transient()));
            let pause = self.pause(&order, &failures, rounds, request.deadline);
            let has_asked = !failures.is_empty();
            last = failures.into_iter().last().or(last);
            let Some(pause) = pause.filter(|_| rounds < self.settings.tries) else { return Err(last) };
            if has_asked {
                self.retries.inc();
            }
            tokio::select! {
                biased;
                () = sleep(pause) => {}
                () = self.became_unavailable() => return Err(last),
            }
        }
    }

    /// Asks each of `order` that is not left alone. If all are, and `early`, the one that may be asked soonest, unless
    /// a probe is in flight already.
    async fn round<'a>(
        &'a self,
        order: &[&'a Provider],
        request: &CompletionRequest<'_>,
        early: bool,
    ) -> Result<CompletionStream<'a>, Vec<Failure<'a>>> {
        let mut failures = Vec::new();
        for provider in order {
            if let Some(permit) = provider.breaker().permit(Instant::now()) {
                match ask(provider, permit, request).await {
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
            match ask(provider, permit, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failures.push((*provider, error)),
            }
        }
        Err(failures)
    }

    /// How long to wait until a provider of `order` may be asked again; `None` where none may, in time. None is waited
    /// for that is left alone, or that wants to be asked later than the longest pause.
    fn pause(&self, order: &[&Provider], failures: &[Failure<'_>], rounds: u32, deadline: Instant) -> Option<Duration> {
        let (now, backoff) = (Instant::now(), self.settings.backoff);
        let pause = |provider: &&Provider| {
            let Availability::ReadyIn(rest) = provider.breaker().availability(now) else { return None };
            let failure = failures.iter().find(|(failed, _)| failed == provider);
            Some(failure.map_or(rest, |(_, error)| rest.max(backoff.pause(rounds, error))))
        };
        order.iter().filter_map(pause).min().filter(|pause| *pause <= backoff.max && now + *pause < deadline)
    }

    /// The first is drawn by weight where there are weights; the others follow as configured.
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

/// What the providers are called, each differently.
fn names(providers: &[ProviderSettings]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for provider in providers {
        let name = provider.url.host_and_model(&provider.model);
        let same = names.iter().filter(|other| **other == name || other.starts_with(&format!("{name}#"))).count();
        names.push(if same == 0 { name } else { format!("{name}#{}", same + 1) });
    }
    names
}

/// A provider, and why it did not answer.
type Failure<'a> = (&'a Provider, LlmError);

fn error_of(failure: Option<Failure<'_>>) -> LlmError {
    failure.map_or(LlmError::NoProvider, |(_, error)| error)
}

/// Makes one call, with `permit`. One that is no probe ends when the provider turns out to be silent.
async fn ask<'a>(
    provider: &'a Provider,
    permit: CallPermit<'a>,
    request: &CompletionRequest<'_>,
) -> Result<CompletionStream<'a>, LlmError> {
    let (begin, opened_by_timeouts) = (Instant::now(), provider.breaker().opened_by_timeouts());
    let asked = tokio::select! {
        biased;
        asked = provider.attempt(request) => asked,
        () = opened_by_timeouts, if !permit.is_probe() => Err(LlmError::BreakerOpened),
    };
    let error = match asked {
        Ok(answer) => return Ok(answer.counted_by(permit)),
        Err(error) => error,
    };
    tracing::warn!(
        trace_id = %request.context.trace.trace_id, message.label = %request.context.label,
        llm.provider = %provider.name(), error.code = error.code(), error.param = error.param(), %error,
        "model call failed"
    );
    let now = Instant::now();
    match &error {
        error if !error.is_provider_fault() => drop(permit),
        // No connection, or an error, after seconds is as costly as silence.
        error if error.is_timeout() || SLOW_FAILURE <= now - begin => permit.timed_out(now),
        _ => permit.failed(now),
    }
    // What one person's message is answered with must not keep the others waiting.
    if let Some(after) = error.retry_after().filter(|_| error.is_provider_fault()) {
        provider.breaker().honor_retry_after(now, after);
    }
    Err(error)
}

#[cfg(test)]
mod tests;
