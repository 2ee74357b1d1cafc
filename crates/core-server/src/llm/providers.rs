//! The providers of a model, in order, and the one loop that tries again.

use std::time::Duration;

use boot::metrics::IntCounter;
use hyper_util::client::proxy::matcher::Matcher;
use tokio::time::{Instant, sleep};

use super::breaker::Permit;
use super::chat_completions::{Answer, ModelError, Provider};
use super::error::LlmError;
use super::{Asked, CallContext, ChatMessage, LlmSettings, ProviderSettings};
use crate::metrics::{BreakerState, ModelMetrics};

/// A model behind one provider or several.
#[derive(Debug)]
pub struct Model {
    providers: Vec<Provider>,
    settings: LlmSettings,
    retries: IntCounter,
}

impl Model {
    /// A client for the providers of `settings`, counted in `metrics`, by way of the proxies that the environment
    /// names (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`). Opens no connection yet.
    ///
    /// # Errors
    ///
    /// See [`ModelError`].
    pub fn new(settings: LlmSettings, metrics: &ModelMetrics) -> Result<Self, ModelError> {
        let proxies = Matcher::from_env();
        let provider = |(name, provider): (String, &ProviderSettings)| {
            let metrics = metrics.provider(&name);
            Provider::new(name, provider.clone(), &settings, &proxies, metrics)
        };
        let named = names(&settings.providers).into_iter().zip(&settings.providers);
        let providers = named.map(provider).collect::<Result<_, _>>()?;
        Ok(Self { providers, settings, retries: metrics.retries.clone() })
    }

    /// Whether no provider is asked as usual: each is left alone, or being tried.
    pub fn is_left_alone(&self) -> bool {
        let now = Instant::now();
        self.providers.iter().all(|provider| provider.breaker().state_at(now) != BreakerState::Closed)
    }

    /// Tells how its providers are now.
    pub fn refresh_metrics(&self) {
        let now = Instant::now();
        for provider in &self.providers {
            provider.metrics().set_breaker(provider.breaker().state_at(now));
        }
    }

    /// Asks for an answer and waits for its first piece. The providers are asked one after
    /// another, those that are left alone by their breaker excepted; when all have failed, again
    /// after a pause, as often as `tries` and the deadline over all of it allow. Once a piece is
    /// there the call is never repeated.
    ///
    /// # Errors
    ///
    /// The error of the last try.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or later the answer, ends the call at the provider.
    pub async fn open(&self, messages: &[ChatMessage], context: CallContext) -> Result<Answer<'_>, LlmError> {
        let call =
            Call { messages, asked: self.settings.asked, context, deadline: Instant::now() + self.settings.deadline };
        let mut order = self.order();
        let mut round = 1;
        loop {
            let failures = match self.round(&order, &call).await {
                Ok(answer) => return Ok(answer),
                Err(failures) => failures,
            };
            let pauses = failures.iter().filter(|(_, error)| error.is_transient());
            let pause = pauses.map(|(_, error)| self.settings.backoff.pause(round, error)).min();
            order
                .retain(|provider| !failures.iter().any(|(failed, error)| failed == provider && !error.is_transient()));
            let in_time = |pause: &Duration| Instant::now() + *pause < call.deadline;
            match pause.filter(in_time).filter(|_| round < self.settings.tries) {
                Some(pause) => {
                    self.retries.inc();
                    sleep(pause).await;
                }
                None => return Err(failures.into_iter().last().map_or(LlmError::NoProvider, |(_, error)| error)),
            }
            round += 1;
        }
    }

    /// Asks for something that nobody waits for: one provider, once, and only one whose breaker is
    /// closed. To find out whether a provider is back is left to calls that somebody waits for.
    ///
    /// # Errors
    ///
    /// The provider's, or [`LlmError::NoProvider`].
    ///
    /// # Cancel safety
    ///
    /// As [`Model::open`].
    pub async fn open_once(
        &self,
        messages: &[ChatMessage],
        asked: Asked,
        context: CallContext,
    ) -> Result<Answer<'_>, LlmError> {
        let call = Call { messages, asked, context, deadline: Instant::now() + self.settings.deadline };
        let order = self.order();
        let provider = order.into_iter().find(|provider| provider.breaker().open_until().is_none());
        let permit = provider.and_then(|provider| Some((provider, provider.breaker().permit(Instant::now())?)));
        let (provider, permit) = permit.ok_or(LlmError::NoProvider)?;
        ask(provider, permit, &call).await
    }

    /// Asks each of `order` that is not left alone. If all are, the one who may be asked soonest:
    /// somebody waits for an answer now, and the provider may be back.
    async fn round<'a>(&'a self, order: &[&'a Provider], call: &Call<'_>) -> Result<Answer<'a>, Vec<Failure<'a>>> {
        let mut failures = Vec::new();
        for provider in order {
            if let Some(permit) = provider.breaker().permit(Instant::now()) {
                match ask(provider, permit, call).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => failures.push((*provider, error)),
                }
            }
        }
        let soonest = order.iter().min_by_key(|provider| provider.breaker().open_until());
        if let Some(provider) = soonest.filter(|_| failures.is_empty()) {
            match ask(provider, provider.breaker().force(), call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failures.push((*provider, error)),
            }
        }
        Err(failures)
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

/// What is asked of every provider.
struct Call<'a> {
    messages: &'a [ChatMessage],
    asked: Asked,
    context: CallContext,
    deadline: Instant,
}

async fn ask<'a>(provider: &'a Provider, permit: Permit<'a>, call: &Call<'_>) -> Result<Answer<'a>, LlmError> {
    let asked = provider.attempt(call.messages, call.asked, call.context, call.deadline).await;
    match &asked {
        Ok(_) => permit.succeeded(),
        Err(error) => {
            tracing::warn!(
                trace_id = %call.context.trace.trace_id, message.label = %call.context.label,
                llm.provider = %provider.name(), %error, "model call failed"
            );
            if error.is_providers_fault() {
                permit.failed(Instant::now());
            }
        }
    }
    asked
}

#[cfg(test)]
mod tests;
