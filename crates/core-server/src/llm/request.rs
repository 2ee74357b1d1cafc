//! What a `chat/completions` API is sent.

use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;

use super::{Asked, CallContext, ChatMessage, ProviderSettings};

/// What the requests to a provider have in common.
#[derive(Debug)]
pub(super) struct RequestParts {
    headers: HeaderMap,
    model: String,
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

impl RequestParts {
    /// Of the requests to `provider`, who knows us by its key, else by the name and the password of its address.
    /// `None` if the key has characters that no header may have.
    pub(super) fn to(provider: &ProviderSettings) -> Option<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let key = provider.key.as_ref().map(|key| HeaderValue::try_from(format!("Bearer {}", key.expose())));
        if let Some(mut authorization) = key.transpose().ok()?.or_else(|| provider.url.login.clone()) {
            authorization.set_sensitive(true);
            headers.insert(AUTHORIZATION, authorization);
        }
        Some(Self { headers, model: provider.model.clone() })
    }

    /// The headers of one.
    pub(super) fn headers(&self, context: CallContext) -> HeaderMap {
        let mut headers = self.headers.clone();
        for (name, value) in [("x-request-id", context.label.to_string()), ("traceparent", context.trace.to_string())] {
            headers.insert(name, HeaderValue::try_from(value).expect("labels and traces are of visible ASCII"));
        }
        headers
    }

    /// The body of one.
    pub(super) fn body(&self, messages: &[ChatMessage], asked: Asked) -> Vec<u8> {
        let body = RequestBody {
            model: &self.model,
            messages,
            temperature: asked.temperature,
            max_tokens: asked.max_tokens,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
        };
        serde_json::to_vec(&body).expect("texts and numbers can be written as JSON")
    }
}
