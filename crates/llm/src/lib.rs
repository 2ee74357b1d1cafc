//! Client of language models behind OpenAI-compatible `chat/completions` APIs: providers, failover, streaming.
//!
//! [`Model`] calls the providers in order, with a circuit breaker each, retries and a deadline; [`CompletionStream`] is
//! an answer that is being written. The crate knows neither sessions nor databases.
//!
//! # Examples
//!
//! ```
//! use llm::{ApiUrl, ApiUrlError};
//!
//! let url = ApiUrl::of_endpoint("http://127.0.0.1:11434/v1/chat/completions")?;
//! assert_eq!(url.host(), "127.0.0.1");
//! // A base URL is a common mistake, and rejected with the likely address.
//! let error = ApiUrl::of_endpoint("http://127.0.0.1:11434").unwrap_err();
//! assert!(matches!(error, ApiUrlError::Endpoint { meant } if meant == "http://127.0.0.1:11434/v1/chat/completions"));
//! # Ok::<(), ApiUrlError>(())
//! ```

#![warn(missing_docs)]

mod api_url;
mod breaker;
mod breaker_state;
mod call_limiter;
mod chat_completions;
mod chat_message;
mod chunk;
mod completion_stream;
mod decoder;
mod error;
mod error_body;
mod finish_class;
mod health;
mod http;
mod key;
mod metrics;
mod model_list;
mod provider;
mod providers;
mod quirks;
mod reader;
mod request;
mod response_drainer;
mod retry;
mod settings;
mod sse;
mod startup_check;
mod thinking;
mod tokens;

pub use api_url::{ApiUrl, ApiUrlError};
pub use breaker_state::BreakerState;
pub use chat_message::{CallContext, ChatMessage, ChatRole};
pub use completion_stream::{CompletionStream, TextDelta};
pub use error::LlmError;
pub use error_body::ErrorBody;
pub use health::Readiness;
pub use key::{KeyError, check_key};
pub use metrics::{CallOutcome, ModelMetric, ModelMetrics, ProviderMetrics};
pub use provider::ModelError;
pub use providers::Model;
pub use retry::Backoff;
pub use settings::{CallTimeouts, LlmSettings, ProviderSettings, SamplingParams};
pub use tokens::{DailyTokens, TokenSettings, UsageReport};
