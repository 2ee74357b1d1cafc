//! Raw command line and environment.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use service_runtime::admin::AdminArgs;
use service_runtime::telemetry::TelemetryArgs;

/// Serves conversations: sessions, history, limits, and the calls to a language model.
///
/// Values are strings, validated by [`super::Config::new`], so that one start reports every problem.
#[derive(Debug, Clone, Parser)]
#[command(version, about, long_about = None)]
pub struct Args {
    /// Address or host name to listen on
    #[arg(long, env = "APP_HOST", default_value = "127.0.0.1")]
    pub app_host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "APP_PORT", default_value = "5001")]
    pub app_port: String,
    /// Networks whose PROXY protocol headers are trusted
    #[arg(long, env = "TRUSTED_PROXIES", default_value = "127.0.0.0/8,::1")]
    pub trusted_proxies: String,
    /// Most connections at once; lowered to the limit on open files
    #[arg(long, env = "MAX_CONNECTIONS", default_value = "10000")]
    pub max_connections: String,
    /// Most connections at once from one IPv4 address or IPv6 /64 network
    #[arg(long, env = "MAX_CONNECTIONS_PER_ADDRESS", default_value = "256")]
    pub max_connections_per_address: String,
    /// Most new connections within a minute from one IPv4 address or IPv6 /64 network
    #[arg(long, env = "CONNECTS_PER_MINUTE_PER_ADDRESS", default_value = "600")]
    pub connects_per_minute_per_address: String,
    /// Milliseconds of silence after which a connection is greeted
    #[arg(long, env = "GREET_DELAY_MS", default_value = "100")]
    pub greet_delay_ms: String,
    /// Time for a PROXY header that has begun, and for `hello` where a gateway announced frames
    #[arg(long, env = "HANDSHAKE_SECONDS", default_value = "10")]
    pub handshake_seconds: String,
    /// Time without a line from the client after which its connection is closed
    #[arg(long, env = "IDLE_SECONDS", default_value = "900")]
    pub idle_seconds: String,
    /// Write timeout: time for a client to accept output
    #[arg(long, env = "WRITE_SECONDS", default_value = "10")]
    pub write_seconds: String,
    /// Time for running answers to end after SIGTERM
    #[arg(long, env = "DRAIN_SECONDS", default_value = "20")]
    pub drain_seconds: String,

    /// Messages a person may send within the window
    #[arg(long, env = "RATE_MAX_MESSAGES", default_value = "10")]
    pub rate_max_messages: String,
    /// Multiple of `RATE_MAX_MESSAGES` that one IPv4 address or IPv6 /64 network may send within the window
    #[arg(long, env = "RATE_ADDRESS_FACTOR", default_value = "20")]
    pub rate_address_factor: String,
    /// Length of the window
    #[arg(long, env = "RATE_WINDOW_SECONDS", default_value = "60")]
    pub rate_window_seconds: String,
    /// Messages of one person that may wait or be answered at once
    #[arg(long, env = "PER_USER_MAX", default_value = "2")]
    pub per_user_max: String,
    /// Calls to the model at once
    #[arg(long, env = "MAX_IN_FLIGHT", default_value = "20")]
    pub max_in_flight: String,
    /// Messages that may wait for a call to the model
    #[arg(long, env = "QUEUE_MAX", default_value = "1000")]
    pub queue_max: String,
    /// Time a message waits for a call to the model
    #[arg(long, env = "QUEUE_TIMEOUT_SECONDS", default_value = "30")]
    pub queue_timeout_seconds: String,

    /// Database of the conversations: `sqlite://path`, or `postgres://user:password@host/database`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, default_value = "sqlite://data/psicoia.db")]
    pub database_url: String,
    /// Connections to a PostgreSQL server at most
    #[arg(long, env = "DATABASE_MAX_CONNECTIONS", default_value = "16")]
    pub database_max_connections: String,
    /// Redis or Valkey server through which several cores on one PostgreSQL share limits and running
    /// answers: `redis://user:password@host:6379/0`, `rediss://` with TLS [default: one core alone]
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// File that holds the address of the Redis server
    #[arg(long, env = "REDIS_URL_FILE")]
    pub redis_url_file: Option<PathBuf>,
    /// Key for encryption at rest: 32 random bytes in base64 [default: no encryption]
    #[arg(long, env = "DATA_KEY", hide_env_values = true)]
    pub data_key: Option<String>,
    /// File that holds the key for encryption at rest
    #[arg(long, env = "DATA_KEY_FILE")]
    pub data_key_file: Option<PathBuf>,
    /// Additional keys for decryption, separated by commas: earlier ones until `core-server rekey`, or the next one
    #[arg(long, env = "DATA_KEY_PREVIOUS", hide_env_values = true)]
    pub data_key_previous: Option<String>,
    /// File that holds those other keys
    #[arg(long, env = "DATA_KEY_PREVIOUS_FILE")]
    pub data_key_previous_file: Option<PathBuf>,
    /// Days that messages and answers are kept; 0: until they are erased
    #[arg(long, env = "RETENTION_DAYS", default_value = "0")]
    pub retention_days: String,
    /// Days without a connection after which a conversation is erased; 0: never
    #[arg(long, env = "UNREACHED_DAYS", default_value = "365")]
    pub unreached_days: String,
    /// Operator of the service, shown to people
    #[arg(long, env = "OPERATOR_NAME")]
    pub operator_name: Option<String>,
    /// Contact of the operator: an e-mail address or a web page
    #[arg(long, env = "OPERATOR_CONTACT")]
    pub operator_contact: Option<String>,
    /// Time after which an answer without a connected client is cancelled
    #[arg(long, env = "ORPHAN_SECONDS", default_value = "120")]
    pub orphan_seconds: String,

    /// Address of a `…/chat/completions` API [default: Groq's if there is a key, else the built-in companion answers]
    #[arg(long, env = "LLM_URL")]
    pub llm_url: Option<String>,
    /// Key of the API
    #[arg(long, env = "GROQ_API_KEY", hide_env_values = true)]
    pub groq_api_key: Option<String>,
    /// File that holds the key of the API
    #[arg(long, env = "GROQ_API_KEY_FILE")]
    pub groq_api_key_file: Option<PathBuf>,
    /// File with several providers, in place of one: `[{"url", "key" or "key_file", "model", "weight"}]`
    #[arg(long, env = "LLM_PROVIDERS")]
    pub llm_providers: Option<PathBuf>,
    /// Name of the model
    #[arg(long, env = "MODEL_NAME", default_value = "llama-3.1-8b-instant")]
    pub model_name: String,
    /// Sampling temperature, 0 to 2
    #[arg(long, env = "LLM_TEMPERATURE", default_value = "0.5")]
    pub llm_temperature: String,
    /// Longest answer, in tokens
    #[arg(long, env = "LLM_MAX_TOKENS", default_value = "512")]
    pub llm_max_tokens: String,
    /// Longest silence of the model, before its answer and within it
    #[arg(long, env = "LLM_TIMEOUT_SECONDS", default_value = "30")]
    pub llm_timeout_seconds: String,
    /// Time for a whole call to the model, thinking included, however steadily it answers
    #[arg(long, env = "LLM_TOTAL_TIMEOUT_SECONDS", default_value = "180")]
    pub llm_total_timeout_seconds: String,
    /// Time to connect to the API
    #[arg(long, env = "LLM_CONNECT_TIMEOUT_SECONDS", default_value = "5")]
    pub llm_connect_timeout_seconds: String,
    /// Time to the first token of an answer or of thinking
    #[arg(long, env = "LLM_FIRST_TOKEN_TIMEOUT_SECONDS", default_value = "20")]
    pub llm_first_token_timeout_seconds: String,
    /// Time between two tokens of an answer or of thinking
    #[arg(long, env = "LLM_SILENCE_TIMEOUT_SECONDS", default_value = "10")]
    pub llm_silence_timeout_seconds: String,
    /// Time to the first token over all retries, providers and pauses
    #[arg(long, env = "LLM_DEADLINE_SECONDS", default_value = "45")]
    pub llm_deadline_seconds: String,
    /// Calls to one provider at once, and so connections to it [default: `MAX_IN_FLIGHT`]
    #[arg(long, env = "LLM_MAX_CONNECTIONS")]
    pub llm_max_connections: Option<String>,
    /// Attempts of one call, the first included; an attempt tries one provider after another
    #[arg(long, env = "LLM_MAX_RETRIES", default_value = "3")]
    pub llm_max_retries: String,
    /// Longest pause after the first failed attempt; doubles with each one
    #[arg(long, env = "LLM_BACKOFF_INITIAL", default_value = "0.5")]
    pub llm_backoff_initial: String,
    /// Longest pause between two attempts; a longer `Retry-After` is not waited for
    #[arg(long, env = "LLM_BACKOFF_MAX", default_value = "5")]
    pub llm_backoff_max: String,
    /// Earlier messages and answers in the model's context
    #[arg(long, env = "LLM_HISTORY_MAX_MESSAGES", default_value = "20")]
    pub llm_history_max_messages: String,
    /// Estimated tokens of the model's context, instructions included
    #[arg(long, env = "LLM_INPUT_TOKEN_BUDGET", default_value = "3000")]
    pub llm_input_token_budget: String,
    /// Characters per token, for the estimate
    #[arg(long, env = "LLM_CHARS_PER_TOKEN", default_value = "4")]
    pub llm_chars_per_token: String,
    /// Tokens of the model within a day (UTC), all cores together; beyond it the companion answers; 0: no limit
    #[arg(long, env = "LLM_TOKENS_PER_DAY", default_value = "0")]
    pub llm_tokens_per_day: String,
    /// Summary, by the model, of history that no longer fits its context: on or off
    #[arg(long, env = "LLM_SUMMARY", default_value = "on")]
    pub llm_summary: String,
    /// Longest summary, in tokens
    #[arg(long, env = "LLM_SUMMARY_MAX_TOKENS", default_value = "256")]
    pub llm_summary_max_tokens: String,
    /// Least messages of a person between two calls for a summary
    #[arg(long, env = "LLM_SUMMARY_EVERY_MESSAGES", default_value = "8")]
    pub llm_summary_every_messages: String,
    /// File with the model's instructions [default: built in, in the person's language]
    #[arg(long, env = "SYSTEM_PROMPT_FILE")]
    pub system_prompt_file: Option<PathBuf>,

    /// URL of a second opinion on messages: `…/moderations`, `…/chat/completions` or `…/embeddings`
    /// [default: none]
    #[arg(long, env = "GUARD_URL", hide_env_values = true)]
    pub guard_url: Option<String>,
    /// Kind of that API: moderations, chat or embeddings
    #[arg(long, env = "GUARD_KIND", default_value = "moderations")]
    pub guard_kind: String,
    /// Name of its model, where the API wants one
    #[arg(long, env = "GUARD_MODEL")]
    pub guard_model: Option<String>,
    /// Key of that API
    #[arg(long, env = "GUARD_API_KEY", hide_env_values = true)]
    pub guard_api_key: Option<String>,
    /// File that holds the key of that API
    #[arg(long, env = "GUARD_API_KEY_FILE")]
    pub guard_api_key_file: Option<PathBuf>,
    /// Longest time that an answer waits for the second opinion, in milliseconds
    #[arg(long, env = "GUARD_DEADLINE_MS", default_value = "500")]
    pub guard_deadline_ms: String,

    /// Worker threads [default: one per CPU]
    #[arg(long, env = "WORKERS")]
    pub workers: Option<String>,
    /// Health and metrics.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// Command in place of serving
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Check the configuration and exit: 0 if it is good, 78 if not
    #[arg(long)]
    pub check_config: bool,
    /// Ask the core that runs with this configuration for its health and exit: 0 if it is well, 1 if not
    #[arg(long, conflicts_with = "check_config")]
    pub check_health: bool,
}

/// Commands in place of serving.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Re-encrypt all stored data with `DATA_KEY`, or decrypt it without one; then exit
    ///
    /// To change the key on one core: put the old one into `DATA_KEY_PREVIOUS` and the new one into
    /// `DATA_KEY`, restart the core, run this, and remove `DATA_KEY_PREVIOUS`. On several: first put
    /// the new one into `DATA_KEY_PREVIOUS` of each, so that all can read it, and only then do this. The
    /// cores may keep running meanwhile.
    Rekey,
    /// Read lines from standard input and show the assessment of each, without settings, server or database
    ///
    /// Nothing is stored or sent. Lines are no arguments, so that none is kept in the history of a shell.
    Explain {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        /// Treat the lines as one conversation, half a minute apart
        #[arg(long)]
        conversation: bool,
    },
    /// Print the number of times help was shown in a year, by month, kind, level and language; then exit
    Report {
        /// The year
        #[arg(long, value_parser = clap::value_parser!(u16).range(2000..=9999))]
        year: u16,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}
