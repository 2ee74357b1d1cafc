//! Requests to a `chat/completions` API.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use protocol::UserText;
use serde::Serialize;
use tokio::time::Instant;

use super::quirks::{Quirks, TokenLimit};
use super::tokens::{Charge, DailyTokens};
use super::{CallContext, ChatMessage, ChatRole, ProviderSettings, SamplingParams};

/// Completion request, independent of the provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompletionRequest<'a> {
    pub(super) messages: &'a [ChatMessage],
    pub(super) sampling: SamplingParams,
    pub(super) context: CallContext,
    /// Deadline of the first token, whichever provider sends it.
    pub(super) deadline: Instant,
    /// Time from the start of the request to `deadline`.
    pub(super) first_token_limit: Duration,
    /// Accounts for the cost.
    pub(super) tokens: &'a Arc<DailyTokens>,
}

/// Parts that all requests to a provider share.
#[derive(Debug)]
pub(super) struct RequestParts {
    headers: HeaderMap,
    model: String,
}

#[derive(Serialize)]
struct RequestBody<'a> {
    model: &'a str,
    messages: &'a [ChatMessage],
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl CompletionRequest<'_> {
    /// Creates the charge of one call.
    pub(super) fn charge(&self) -> Charge {
        let chars = self.messages.iter().map(|message| message.content.chars()).sum();
        Charge::new(self.tokens, chars, self.messages.len())
    }
}

impl RequestParts {
    /// Prepares the requests to `provider`. Authorization: the API key, else the URL's user information. `None` if the
    /// key is no valid header value.
    pub(super) fn to(provider: &ProviderSettings) -> Option<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let key = provider.key.as_ref().map(|key| HeaderValue::try_from(format!("Bearer {}", key.expose())));
        if let Some(mut authorization) = key.transpose().ok()?.or_else(|| provider.url.basic_auth.clone()) {
            authorization.set_sensitive(true);
            headers.insert(AUTHORIZATION, authorization);
        }
        Some(Self { headers, model: provider.model.clone() })
    }

    /// Headers of a completion request.
    pub(super) fn headers(&self, context: CallContext) -> HeaderMap {
        let mut headers = self.headers.clone();
        for (name, value) in [("x-request-id", context.label.to_string()), ("traceparent", context.trace.to_string())] {
            headers.insert(name, HeaderValue::try_from(value).expect("labels and traces are of visible ASCII"));
        }
        headers
    }

    /// Headers of a `GET`, which belongs to no message.
    pub(super) fn headers_to_read(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.remove(CONTENT_TYPE);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers
    }

    /// Body of a completion request, adapted to `quirks`.
    pub(super) fn body(&self, request: &CompletionRequest<'_>, quirks: Quirks) -> Vec<u8> {
        let CompletionRequest { messages, sampling, .. } = *request;
        let messages = if quirks.no_system_role { without_system(messages) } else { Cow::Borrowed(messages) };
        let limit = |name| (quirks.token_limit == name).then_some(sampling.max_tokens);
        let body = RequestBody {
            model: &self.model,
            messages: &messages,
            temperature: (!quirks.no_temperature).then_some(sampling.temperature),
            max_tokens: limit(TokenLimit::MaxTokens),
            max_completion_tokens: limit(TokenLimit::MaxCompletionTokens),
            stream: true,
            stream_options: (!quirks.no_stream_options).then_some(StreamOptions { include_usage: true }),
        };
        serde_json::to_vec(&body).expect("texts and numbers can be written as JSON")
    }
}

/// Moves the instructions to the beginning of the first user message.
fn without_system(messages: &[ChatMessage]) -> Cow<'_, [ChatMessage]> {
    let [ChatMessage { role: ChatRole::System, content: instructions }, others @ ..] = messages else {
        return Cow::Borrowed(messages);
    };
    let mut merged = others.to_vec();
    match merged.iter_mut().find(|message| message.role == ChatRole::User) {
        Some(first) => {
            first.content = UserText::new(format!("{}\n\n{}", instructions.expose(), first.content.expose()));
        }
        // A prompt of instructions alone must still have a user message.
        None => merged.insert(0, ChatMessage { role: ChatRole::User, content: instructions.clone() }),
    }
    Cow::Owned(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_instructions_into_the_first_user_message() {
        let message = |role, content: &str| ChatMessage { role, content: UserText::new(content) };
        let (system, user, assistant) = (ChatRole::System, ChatRole::User, ChatRole::Assistant);
        for (messages, want) in [
            (
                vec![message(system, "s"), message(user, "a"), message(assistant, "b"), message(user, "c")],
                vec![message(user, "s\n\na"), message(assistant, "b"), message(user, "c")],
            ),
            (vec![message(system, "s")], vec![message(user, "s")]),
            (vec![message(user, "a")], vec![message(user, "a")]),
        ] {
            assert_eq!(*without_system(&messages), want);
        }
    }
}
