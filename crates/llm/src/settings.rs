//! Settings of the model client.

use std::time::Duration;

use service_runtime::Secret;

use crate::api_url::ApiUrl;
use crate::retry::Backoff;
use crate::tokens::TokenSettings;

/// Settings of the model client.
#[derive(Debug, Clone)]
pub struct LlmSettings {
    /// Providers in order of preference; not empty.
    pub providers: Vec<ProviderSettings>,
    /// Sampling parameters of answers.
    pub sampling: SamplingParams,
    /// Timeouts of one call.
    pub timeouts: CallTimeouts,
    /// Rounds over the providers, the first attempt included; at least 1.
    pub tries: u32,
    /// Backoff between rounds.
    pub backoff: Backoff,
    /// Time from the first call to the first token, all calls and pauses included.
    pub deadline: Duration,
    /// Limit on concurrent calls to one provider, and so on its connections in use; at least 1.
    pub max_connections: usize,
    /// Daily token limit.
    pub tokens: TokenSettings,
}

/// Settings of one provider.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// URL of the API.
    pub url: ApiUrl,
    /// Key sent as a bearer token.
    pub key: Option<Secret>,
    /// Name of the model.
    pub model: String,
    /// Relative share of first calls; with 0 for all, the configured order holds.
    pub weight: u32,
}

/// Sampling parameters of a request.
#[derive(Debug, Clone, Copy)]
pub struct SamplingParams {
    /// Sampling temperature.
    pub temperature: f32,
    /// Limit on the answer, in tokens.
    pub max_tokens: u32,
}

/// Timeouts of one call.
#[derive(Debug, Clone, Copy)]
pub struct CallTimeouts {
    /// Establishing a connection.
    pub connect: Duration,
    /// From the request to the first token of the answer or of thinking.
    pub first_token: Duration,
    /// Between two tokens.
    pub silence: Duration,
    /// Whole call, thinking included.
    pub total: Duration,
}
