//! Language models behind OpenAI-compatible APIs.

mod breaker;
mod call_limiter;
mod chat_completions;
mod chunk;
mod completion_stream;
mod decoder;
mod error;
mod error_body;
mod health;
mod http;
mod key;
mod providers;
mod quirks;
mod reader;
mod request;
mod response_drainer;
mod retry;
mod sse;
mod startup_check;
mod thinking;
mod tokens;

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use boot::Secret;
use hyper::Uri;
use hyper::header::HeaderValue;
use hyper::http::uri::InvalidUri;
use percent_encoding::percent_decode_str;
use protocol::trace::Traceparent;
use protocol::{MessageLabel, UserText};
use serde::Serialize;
use url::Url;

pub use chat_completions::ModelError;
pub use completion_stream::{CompletionStream, TextDelta};
pub use error::LlmError;
pub use error_body::ErrorBody;
pub use health::Readiness;
pub use key::{KeyError, check_key};
pub use providers::Model;
pub use retry::Backoff;
pub use tokens::{DailyTokens, TokenSettings, UsageReport};

/// Full address of a `…/chat/completions` API: http or https, with a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl {
    /// Without a name and a password.
    uri: Uri,
    /// Those, as the header that they are sent in. It is not shown.
    basic_auth: Option<HeaderValue>,
}

/// The text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiUrlError {
    /// Neither http nor https.
    #[error("must begin with http:// or https:// and name a host")]
    Scheme,
    /// Not an address at all.
    #[error("not an address: {0}")]
    Malformed(String),
    /// A base address, or another API's.
    #[error("is not the full address of a chat/completions API; did you mean {meant}?")]
    Endpoint {
        /// The likely one, without a user, a password or a query.
        meant: String,
    },
}

impl ApiUrl {
    /// Parses an address of the configuration, where a base address is a common mistake.
    ///
    /// # Errors
    ///
    /// It is no address, or not that of `…/chat/completions`.
    pub fn of_endpoint(text: &str) -> Result<Self, ApiUrlError> {
        let endpoint = text.parse()?;
        match Url::parse(text) {
            Ok(url) if !url.path().trim_end_matches('/').ends_with(ENDPOINT) => {
                Err(ApiUrlError::Endpoint { meant: suggested_url(&url) })
            }
            _ => Ok(endpoint),
        }
    }

    /// Its host.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// What a provider here is called in logs.
    fn host_and_model(&self, model: &str) -> String {
        format!("{}/{model}", self.host())
    }

    /// The address of the list of models beside it, where the API has its usual paths.
    fn models(&self) -> Option<Uri> {
        let base = self.uri.path().trim_end_matches('/').strip_suffix("/chat/completions")?;
        let query = self.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(format!("{base}/models{query}").parse().ok()?);
        Uri::from_parts(parts).ok()
    }
}

impl std::str::FromStr for ApiUrl {
    type Err = ApiUrlError;

    fn from_str(text: &str) -> Result<Self, ApiUrlError> {
        let mut url = Url::parse(text).map_err(|error| ApiUrlError::Malformed(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(ApiUrlError::Scheme);
        }
        let basic_auth = basic_auth(&url);
        // Neither fails: there is a host.
        let _ = (url.set_username(""), url.set_password(None));
        let uri = url.as_str().parse().map_err(|error: InvalidUri| ApiUrlError::Malformed(error.to_string()))?;
        Ok(Self { uri, basic_auth })
    }
}

/// How the path of the API ends.
const ENDPOINT: &str = "/chat/completions";

/// The address of the API that a base address, or that of a neighbouring API, was probably meant for.
fn suggested_url(url: &Url) -> String {
    let path = url.path().trim_end_matches('/');
    let neighbours = ["/completions", "/responses", "/models", "/embeddings", "/chat", "/api/chat", "/api/generate"];
    // The longest: Ollama's own API lies beside the one that is wanted.
    let base = neighbours.iter().filter_map(|end| path.strip_suffix(end)).min_by_key(|base| base.len());
    let base = base.unwrap_or(path);
    let is_version =
        |part: &str| part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let version = if base.split('/').any(is_version) || base.contains("/deployments/") { "" } else { "/v1" };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{base}{version}{ENDPOINT}", url.scheme(), url.host_str().unwrap_or_default())
}

/// The name and the password of `url`, as HTTP's basic authentication sends them.
fn basic_auth(url: &Url) -> Option<HeaderValue> {
    let password = url.password().unwrap_or_default();
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let [name, password] = [url.username(), password].map(|part| percent_decode_str(part).collect::<Vec<u8>>());
    let login = BASE64.encode([name, b":".to_vec(), password].concat());
    let mut header = HeaderValue::try_from(format!("Basic {login}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// How to reach a model and what to ask of it.
#[derive(Debug, Clone)]
pub struct LlmSettings {
    /// Who is asked, the first one first. Not empty.
    pub providers: Vec<ProviderSettings>,
    /// What is asked for.
    pub sampling: SamplingParams,
    /// Time for one call.
    pub timeouts: CallTimeouts,
    /// Rounds over the providers, the first included; at least 1.
    pub tries: u32,
    /// Pauses between rounds.
    pub backoff: Backoff,
    /// From the first call to the first piece of an answer, all calls and pauses together.
    pub deadline: Duration,
    /// Calls to one provider at once, and so connections in use; at least 1.
    pub max_connections: usize,
    /// Bounds on the tokens of a day.
    pub tokens: TokenSettings,
}

/// One provider of a model.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// Where the API is.
    pub url: ApiUrl,
    /// Key sent as a bearer token.
    pub key: Option<Secret>,
    /// Name of the model.
    pub model: String,
    /// Its share of the calls; where all are 0, the first is asked first.
    pub weight: u32,
}

/// What is asked of a model besides the conversation.
#[derive(Debug, Clone, Copy)]
pub struct SamplingParams {
    /// Sampling temperature.
    pub temperature: f32,
    /// Longest answer, in tokens.
    pub max_tokens: u32,
}

/// Time limits of one call to a model.
#[derive(Debug, Clone, Copy)]
pub struct CallTimeouts {
    /// To open a connection.
    pub connect: Duration,
    /// From the request to the first piece of the answer, or the first sign that the model thinks.
    pub first_token: Duration,
    /// Between two pieces or signs.
    pub silence: Duration,
    /// For the whole call, thinking included.
    pub total: Duration,
}

/// One line of the conversation as the model gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: ChatRole,
    /// What was said.
    pub content: UserText,
}

/// Who speaks, in the words of the OpenAI API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// On whose behalf a call is made.
#[derive(Debug, Clone, Copy)]
pub struct CallContext {
    /// Sent as `X-Request-ID`.
    pub label: MessageLabel,
    /// Sent as `traceparent`.
    pub trace: Traceparent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in [
            "http://127.0.0.1:11434/v1/chat/completions",
            "https://api.example/openai/deployments/x/chat/completions?api-version=1",
            "https://user:pass@api.example/v1/chat/completions/",
        ] {
            assert!(ApiUrl::of_endpoint(good).is_ok(), "{good}");
        }
        for (bad, meant) in [
            ("http://127.0.0.1:11434", "http://127.0.0.1:11434/v1/chat/completions"),
            ("http://[::1]:8080/", "http://[::1]:8080/v1/chat/completions"),
            ("http://127.0.0.1:11434/api/chat", "http://127.0.0.1:11434/v1/chat/completions"),
            ("http://127.0.0.1:11434/api/generate", "http://127.0.0.1:11434/v1/chat/completions"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat/completions"),
            ("https://api.openai.com/v1/completions", "https://api.openai.com/v1/chat/completions"),
            ("https://api.openai.com/v1/responses", "https://api.openai.com/v1/chat/completions"),
            ("https://api.groq.com/openai", "https://api.groq.com/openai/v1/chat/completions"),
            ("https://openrouter.ai/api", "https://openrouter.ai/api/v1/chat/completions"),
            ("https://host.example/v1beta/openai", "https://host.example/v1beta/openai/chat/completions"),
            ("https://me:secret@host.example/v1?key=secret", "https://host.example/v1/chat/completions"),
        ] {
            assert_eq!(ApiUrl::of_endpoint(bad), Err(ApiUrlError::Endpoint { meant: meant.to_owned() }), "{bad}");
        }
    }
}
