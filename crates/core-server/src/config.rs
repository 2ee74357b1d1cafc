//! Configuration: raw [`Args`], then a validated [`Config`]. The only code that reads the environment.

mod args;
mod providers;

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use cluster::{ClusterLimits, ClusterSettings, RedisUrl};
use limits::{RateLimit, TrustedProxies};
use llm::{ApiUrl, Backoff, CallTimeouts, LlmSettings, ProviderSettings, SamplingParams, TokenSettings, check_key};
use protocol::server_frame::{About, ModelHost};
use service_runtime::admin::AdminAddress;
use service_runtime::{ConfigError, Operator, Secret, ServiceArgs};
use store::keys::{DataKey, Keyring};
use store::{DatabaseSettings, DatabaseUrl};

pub use args::{Args, Command};

use crate::explain::{ExplainOptions, explain};
use crate::guard::{GuardKind, GuardSettings};
use crate::turn::{ContextSettings, RECORD_TIMEOUT, SummarySettings};

/// Default API of a key without a URL, as in the prototype.
const GROQ_URL: &str = "https://api.groq.com/openai/v1/chat/completions";

/// Default port of health and metrics.
const ADMIN_PORT: u16 = 9101;
/// Upper limit of `LLM_TOKENS_PER_DAY`: Redis scripts count in floating point, exact up to 2⁵³ only.
const MAX_TOKENS_PER_DAY: u64 = 1_000_000_000_000;
const SECONDS_PER_DAY: u64 = 86_400;
const MINUTE: Duration = Duration::from_secs(60);
/// File descriptors reserved for other than client connections: listeners, calls to the model, database, logs.
const RESERVED_FDS: u64 = 128;

/// Validated configuration; nothing else configures the core.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address or host name to listen on.
    pub host: String,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Address of health and metrics.
    pub admin: AdminAddress,
    /// Worker threads; `None`: one per CPU.
    pub workers: Option<usize>,
    /// Proxies whose PROXY headers are trusted.
    pub trusted_proxies: TrustedProxies,
    /// Limit on concurrent connections.
    pub max_connections: usize,
    /// Limit on concurrent connections per address.
    pub max_connections_per_address: usize,
    /// Rate limit on new connections per address.
    pub connects: RateLimit,
    /// Timeouts of a connection.
    pub timeouts: Timeouts,
    /// Rate limit on messages per person.
    pub rate: RateLimit,
    /// Rate limit on messages per address.
    pub address_rate: RateLimit,
    /// Limit on pending messages per person.
    pub per_user_max: usize,
    /// Time after which an answer without a connected client is cancelled.
    pub orphan: Duration,
    /// Database of the conversations.
    pub database: DatabaseSettings,
    /// Cluster settings; `None`: a single core.
    pub cluster: Option<ClusterSettings>,
    /// Retention of entries; `None`: until erased.
    pub retention: Option<Duration>,
    /// Retention of conversations without connections; `None`: until erased.
    pub unreached: Option<Duration>,
    /// Operator of the service, shown to people.
    pub operator: Operator,
    /// Limit on concurrent answers of the model.
    pub max_in_flight: usize,
    /// Limit on messages waiting for a permit.
    pub queue_max: usize,
    /// Longest wait for a permit.
    pub queue_timeout: Duration,
    /// Model client; `None`: the built-in companion answers.
    pub llm: Option<LlmSettings>,
    /// Second opinion on messages.
    pub guard: Option<GuardSettings>,
    /// Context of the model.
    pub context: ContextSettings,
}

/// Timeouts of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Silence of a new connection before the plain face greets.
    pub greet_delay: Duration,
    /// For the rest of a PROXY header, and for `hello` on a framed connection.
    pub handshake: Duration,
    /// Between two lines of the client; an answer in progress extends it.
    pub idle: Duration,
    /// Without progress in writing: the client is a slow consumer.
    pub write: Duration,
    /// For answers in progress when the server drains.
    pub drain: Duration,
}

impl Config {
    /// Validates all settings.
    ///
    /// # Errors
    ///
    /// Lists every problem, by variable.
    pub fn new(args: &Args) -> Result<Self, ConfigError> {
        let mut problems = ConfigError::default();
        let p = &mut problems;
        let rate = RateLimit {
            events: p.number("RATE_MAX_MESSAGES", &args.rate_max_messages, 1..=1_000_000),
            window: p.seconds("RATE_WINDOW_SECONDS", &args.rate_window_seconds, 0.001..=86_400.0),
        };
        let max_in_flight = p.number("MAX_IN_FLIGHT", &args.max_in_flight, 1..=1_000_000);
        let address_factor: usize = p.number("RATE_ADDRESS_FACTOR", &args.rate_address_factor, 1..=1_000_000);
        let per_user_max = p.number("PER_USER_MAX", &args.per_user_max, 1..=1_000);
        let queue_timeout = p.seconds("QUEUE_TIMEOUT_SECONDS", &args.queue_timeout_seconds, 0.0..=3_600.0);
        let llm = llm(p, args, max_in_flight);
        let limits = ClusterLimits {
            rate,
            address_rate: RateLimit { events: rate.events.saturating_mul(address_factor), ..rate },
            per_user_max,
            max_in_flight,
            longest_claim: longest_claim(per_user_max, queue_timeout, llm.as_ref()),
        };
        let database = database(p, args);
        let config = Self {
            host: args.app_host.trim().to_owned(),
            port: p.number("APP_PORT", &args.app_port, 0..=u16::MAX),
            admin: args.admin.check(p, ADMIN_PORT),
            workers: args.workers.as_deref().map(|workers| p.number("WORKERS", workers, 1..=1_024)),
            trusted_proxies: p
                .check("TRUSTED_PROXIES", TrustedProxies::parse(&args.trusted_proxies))
                .unwrap_or_default(),
            max_connections: p.number("MAX_CONNECTIONS", &args.max_connections, 1..=1_000_000),
            max_connections_per_address: p.number(
                "MAX_CONNECTIONS_PER_ADDRESS",
                &args.max_connections_per_address,
                1..=1_000_000,
            ),
            connects: RateLimit {
                events: p.number(
                    "CONNECTS_PER_MINUTE_PER_ADDRESS",
                    &args.connects_per_minute_per_address,
                    1..=1_000_000,
                ),
                window: MINUTE,
            },
            timeouts: timeouts(p, args),
            rate,
            address_rate: limits.address_rate,
            per_user_max: limits.per_user_max,
            orphan: p.seconds("ORPHAN_SECONDS", &args.orphan_seconds, 0.0..=86_400.0),
            cluster: cluster(p, args, &database, limits),
            database,
            retention: days(p, "RETENTION_DAYS", &args.retention_days),
            unreached: days(p, "UNREACHED_DAYS", &args.unreached_days),
            operator: Operator::check(p, args.operator_name.as_deref(), args.operator_contact.as_deref()),
            max_in_flight,
            queue_max: p.number("QUEUE_MAX", &args.queue_max, 0..=1_000_000),
            queue_timeout,
            llm,
            guard: guard(p, args),
            context: context(p, args),
        };
        args.telemetry.check(p);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// Names of the models, for operators.
    pub fn models(&self) -> String {
        let names = |llm: &LlmSettings| llm.providers.iter().map(|provider| provider.model.clone()).collect::<Vec<_>>();
        self.llm.as_ref().map_or("none: the built-in companion answers".to_owned(), |llm| names(llm).join(", "))
    }

    /// Facts about the service for the `about` request.
    pub fn about(&self) -> About {
        let days = |kept: Option<Duration>| kept.map_or(0, |kept| kept.as_secs() / SECONDS_PER_DAY);
        let model = |it: &ProviderSettings| ModelHost { host: it.url.host().to_owned(), name: it.model.clone() };
        About {
            operator: self.operator.name.clone(),
            contact: self.operator.contact.clone(),
            retention_days: days(self.retention),
            unreached_days: days(self.unreached),
            kept: true,
            models: self.llm.iter().flat_map(|llm| &llm.providers).map(model).collect(),
            guard: self.guard.as_ref().map(|guard| ModelHost {
                host: guard.host().to_owned(),
                name: guard.model.clone().unwrap_or_else(|| guard.kind.to_string()),
            }),
        }
    }

    /// Lowers the limit on connections to fit `open_files`; true if it did.
    pub fn fit_to_file_limit(&mut self, open_files: u64) -> bool {
        let fits = usize::try_from(open_files.saturating_sub(RESERVED_FDS)).unwrap_or(usize::MAX).max(1);
        let lowered = fits < self.max_connections;
        self.max_connections = self.max_connections.min(fits);
        lowered
    }
}

/// Upper bound on the life of a claim: a message waits for all others that its session may have pending, on any core,
/// and each takes a queue wait, an answer, and the commit of the answer. A claim that expired earlier would let a
/// second core answer the same message.
fn longest_claim(per_user_max: usize, queue_timeout: Duration, llm: Option<&LlmSettings>) -> Duration {
    // Twice: a rejected prompt is retried in a smaller form.
    let call = llm.map_or(Duration::ZERO, |llm| 2 * llm.deadline + llm.timeouts.total);
    let messages = u32::try_from(per_user_max).unwrap_or(u32::MAX);
    (queue_timeout + call + RECORD_TIMEOUT + MINUTE).saturating_mul(messages)
}

impl ServiceArgs for Args {
    type Config = Config;

    fn check(&self) -> Result<Config, ConfigError> {
        Config::new(self)
    }

    fn only_checks(&self) -> bool {
        self.check_config
    }

    fn run_without_settings(&self) -> Option<ExitCode> {
        let Some(Command::Explain { json, conversation }) = self.command else { return None };
        let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
        Some(match explain(input, output, ExplainOptions { json, conversation }) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        })
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "listens on {}:{}", self.host, self.port)?;
        writeln!(f, "health and metrics on {}:{}", self.admin.host, self.admin.port)?;
        writeln!(f, "model: {}", self.models())?;
        writeln!(f, "database: {}", self.database.url)
    }
}

fn timeouts(p: &mut ConfigError, args: &Args) -> Timeouts {
    Timeouts {
        greet_delay: Duration::from_millis(p.number("GREET_DELAY_MS", &args.greet_delay_ms, 0..=60_000)),
        handshake: p.seconds("HANDSHAKE_SECONDS", &args.handshake_seconds, 0.1..=3_600.0),
        idle: p.seconds("IDLE_SECONDS", &args.idle_seconds, 1.0..=604_800.0),
        write: p.seconds("WRITE_SECONDS", &args.write_seconds, 0.1..=3_600.0),
        drain: p.seconds("DRAIN_SECONDS", &args.drain_seconds, 0.0..=3_600.0),
    }
}

fn database(p: &mut ConfigError, args: &Args) -> DatabaseSettings {
    let url = p.check("DATABASE_URL", args.database_url.parse::<DatabaseUrl>());
    let key = secret(p, "DATA_KEY", args.data_key.as_deref(), args.data_key_file.as_deref());
    let previous =
        secret(p, "DATA_KEY_PREVIOUS", args.data_key_previous.as_deref(), args.data_key_previous_file.as_deref());
    let key = key.and_then(|key| p.check("DATA_KEY", DataKey::new(&key)));
    let previous = previous.iter().flat_map(Secret::split);
    let previous = previous.filter_map(|key| p.check("DATA_KEY_PREVIOUS", DataKey::new(&key))).collect();
    DatabaseSettings {
        url: url.unwrap_or_else(|| DatabaseUrl::Sqlite("data/psicoia.db".into())),
        keys: Keyring::new(key, previous),
        max_connections: p.number("DATABASE_MAX_CONNECTIONS", &args.database_max_connections, 1..=1_000),
    }
}

fn cluster(
    p: &mut ConfigError,
    args: &Args,
    database: &DatabaseSettings,
    limits: ClusterLimits,
) -> Option<ClusterSettings> {
    let url = secret(p, "REDIS_URL", args.redis_url.as_deref(), args.redis_url_file.as_deref())?;
    if matches!(database.url, DatabaseUrl::Sqlite(_)) {
        p.add("REDIS_URL", "is for several cores on one PostgreSQL server: set DATABASE_URL to it as well");
    }
    let url = p.check("REDIS_URL", url.expose().parse::<RedisUrl>())?;
    Some(ClusterSettings { url, limits })
}

fn days(p: &mut ConfigError, variable: &str, text: &str) -> Option<Duration> {
    let days: u64 = p.number(variable, text, 0..=36_500);
    (0 < days).then(|| Duration::from_secs(days * SECONDS_PER_DAY))
}

/// Reads the secret of `name` or of the file in `name_FILE`.
fn secret(p: &mut ConfigError, name: &str, value: Option<&str>, file: Option<&Path>) -> Option<Secret> {
    let variable = if file.is_some() { format!("{name}_FILE") } else { name.to_owned() };
    p.check(&variable, Secret::read(value, file)).flatten()
}

fn llm(p: &mut ConfigError, args: &Args, max_in_flight: usize) -> Option<LlmSettings> {
    // Validated even without a model, so that a mistake shows before one is configured.
    let settings = LlmSettings {
        providers: llm_providers(p, args),
        sampling: SamplingParams {
            temperature: p.number("LLM_TEMPERATURE", &args.llm_temperature, 0.0..=2.0),
            max_tokens: p.number("LLM_MAX_TOKENS", &args.llm_max_tokens, 1..=1_000_000),
        },
        timeouts: call_timeouts(p, args),
        tries: p.number("LLM_MAX_RETRIES", &args.llm_max_retries, 1..=100),
        backoff: Backoff {
            initial: p.seconds("LLM_BACKOFF_INITIAL", &args.llm_backoff_initial, 0.0..=600.0),
            max: p.seconds("LLM_BACKOFF_MAX", &args.llm_backoff_max, 0.0..=600.0),
        },
        deadline: p.seconds("LLM_DEADLINE_SECONDS", &args.llm_deadline_seconds, 0.1..=3_600.0),
        max_connections: args
            .llm_max_connections
            .as_deref()
            .map_or(max_in_flight, |most| p.number("LLM_MAX_CONNECTIONS", most, 1..=1_000_000)),
        tokens: TokenSettings {
            per_day: Some(p.number("LLM_TOKENS_PER_DAY", &args.llm_tokens_per_day, 0..=MAX_TOKENS_PER_DAY))
                .filter(|tokens| 0 < *tokens),
            // Validated by `context`.
            chars_per_token: args.llm_chars_per_token.trim().parse().unwrap_or(4.0),
        },
    };
    Some(settings).filter(|settings| !settings.providers.is_empty())
}

fn call_timeouts(p: &mut ConfigError, args: &Args) -> CallTimeouts {
    let mut seconds = |name, value: &str, most| p.seconds(name, value, 0.1..=most);
    // Bounds both timeouts, so that a single setting can shorten them.
    let silence = seconds("LLM_TIMEOUT_SECONDS", &args.llm_timeout_seconds, 3_600.0);
    let first_token = seconds("LLM_FIRST_TOKEN_TIMEOUT_SECONDS", &args.llm_first_token_timeout_seconds, 3_600.0);
    let between = seconds("LLM_SILENCE_TIMEOUT_SECONDS", &args.llm_silence_timeout_seconds, 3_600.0);
    CallTimeouts {
        connect: seconds("LLM_CONNECT_TIMEOUT_SECONDS", &args.llm_connect_timeout_seconds, 600.0),
        first_token: first_token.min(silence),
        silence: between.min(silence),
        total: seconds("LLM_TOTAL_TIMEOUT_SECONDS", &args.llm_total_timeout_seconds, 3_600.0),
    }
}

/// Providers of `LLM_PROVIDERS`, or the single one of `LLM_URL` and `GROQ_API_KEY`, or none.
fn llm_providers(p: &mut ConfigError, args: &Args) -> Vec<ProviderSettings> {
    let key = api_key(p, args);
    let url = args.llm_url.as_deref().map(str::trim).or(key.as_ref().map(|_| GROQ_URL));
    if let Some(file) = &args.llm_providers {
        if url.is_some() {
            p.add("LLM_PROVIDERS", "set either this, or LLM_URL and GROQ_API_KEY");
        }
        return p.check("LLM_PROVIDERS", providers::read(file)).unwrap_or_default();
    }
    let url = url.and_then(|url| p.check("LLM_URL", ApiUrl::of_endpoint(url)));
    let provider = |url| ProviderSettings { url, key, model: args.model_name.trim().to_owned(), weight: 0 };
    url.map(provider).into_iter().collect()
}

/// Reads and validates the API key.
fn api_key(p: &mut ConfigError, args: &Args) -> Option<Secret> {
    let key = secret(p, "GROQ_API_KEY", args.groq_api_key.as_deref(), args.groq_api_key_file.as_deref())?;
    let variable = if args.groq_api_key_file.is_some() { "GROQ_API_KEY_FILE" } else { "GROQ_API_KEY" };
    p.check(variable, check_key(&key))?;
    Some(key)
}

/// Validated even without `GUARD_URL`, so that a mistake shows before it is set.
fn guard(p: &mut ConfigError, args: &Args) -> Option<GuardSettings> {
    let kind = p.check("GUARD_KIND", args.guard_kind.parse::<GuardKind>());
    let deadline = p.number("GUARD_DEADLINE_MS", &args.guard_deadline_ms, 50..=2_000);
    let key = secret(p, "GUARD_API_KEY", args.guard_api_key.as_deref(), args.guard_api_key_file.as_deref());
    let set =
        |value: &Option<String>| value.as_deref().map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned);
    let url = set(&args.guard_url);
    let kind = kind?;
    let url = url.and_then(|url| p.check("GUARD_URL", GuardSettings::parse_url(&url, kind)))?;
    let model = set(&args.guard_model);
    Some(GuardSettings { url, kind, model, key, deadline: Duration::from_millis(deadline) })
}

fn context(p: &mut ConfigError, args: &Args) -> ContextSettings {
    let read = |file: &Path| {
        let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        if text.trim().is_empty() { Err(format!("{} is empty", file.display())) } else { Ok(text.trim().to_owned()) }
    };
    let max_entries = p.number("LLM_HISTORY_MAX_MESSAGES", &args.llm_history_max_messages, 0..=10_000);
    ContextSettings {
        max_entries,
        // History disabled implies summaries disabled.
        summary: summary(p, args).filter(|_| 0 < max_entries),
        token_budget: p.number("LLM_INPUT_TOKEN_BUDGET", &args.llm_input_token_budget, 1.0..=10_000_000.0),
        chars_per_token: p.number("LLM_CHARS_PER_TOKEN", &args.llm_chars_per_token, 0.1..=100.0),
        system_prompt: args.system_prompt_file.as_deref().and_then(|file| p.check("SYSTEM_PROMPT_FILE", read(file))),
    }
}

fn summary(p: &mut ConfigError, args: &Args) -> Option<SummarySettings> {
    let settings = SummarySettings {
        max_tokens: p.number("LLM_SUMMARY_MAX_TOKENS", &args.llm_summary_max_tokens, 16..=100_000),
        every_messages: p.number("LLM_SUMMARY_EVERY_MESSAGES", &args.llm_summary_every_messages, 1..=10_000),
    };
    match args.llm_summary.trim() {
        "on" => Some(settings),
        "off" => None,
        _ => {
            p.add("LLM_SUMMARY", "is neither on nor off");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn claims_outlive_the_answers_they_wait_for() {
        let args = [
            "core-server",
            "--database-url=postgres://127.0.0.1/psicoia",
            "--redis-url=redis://127.0.0.1",
            "--llm-url=http://127.0.0.1/v1/chat/completions",
            "--per-user-max=3",
            "--queue-timeout-seconds=3600",
            "--llm-deadline-seconds=600",
            "--llm-total-timeout-seconds=3600",
        ];
        let config = Config::new(&Args::parse_from(args)).unwrap();
        let claim = config.cluster.unwrap().limits.longest_claim;
        assert!(Duration::from_secs(3 * (3_600 + 2 * 600 + 3_600)) < claim, "{claim:?}");
        assert!(claim < Duration::from_secs(3 * 10_000), "{claim:?}");
    }
}
