//! Variables that a `.env` may contain beside a program's own.

/// Variables of both services and of docker-compose.yml. A program knows its own from its arguments; of the other one's
/// it must know only the names. A test in crates/e2e compares this list with both.
const SETTINGS: &[&str] = &[
    "ADMIN_HOST",
    "ADMIN_PORT",
    "ALLOWED_ORIGINS",
    "APP_HOST",
    "APP_PORT",
    "CONNECTS_PER_MINUTE_PER_ADDRESS",
    "CONNECT_TIMEOUT_SECONDS",
    "CORE_HOST",
    "CORE_PORT",
    "DATABASE_MAX_CONNECTIONS",
    "DATABASE_URL",
    "DATA_KEY",
    "DATA_KEY_FILE",
    "DATA_KEY_PREVIOUS",
    "DATA_KEY_PREVIOUS_FILE",
    "DRAIN_SECONDS",
    "EXIT_URL",
    "GRAFANA_PORT",
    "GREET_DELAY_MS",
    "GROQ_API_KEY",
    "GROQ_API_KEY_FILE",
    "GUARD_API_KEY",
    "GUARD_API_KEY_FILE",
    "GUARD_DEADLINE_MS",
    "GUARD_KIND",
    "GUARD_MODEL",
    "GUARD_URL",
    "HANDSHAKE_SECONDS",
    "HTTP_HOST",
    "HTTP_PORT",
    "IDLE_SECONDS",
    "INSIDE_SUBNET",
    "LLM_BACKOFF_INITIAL",
    "LLM_BACKOFF_MAX",
    "LLM_CHARS_PER_TOKEN",
    "LLM_CONNECT_TIMEOUT_SECONDS",
    "LLM_DEADLINE_SECONDS",
    "LLM_FIRST_TOKEN_TIMEOUT_SECONDS",
    "LLM_HISTORY_MAX_MESSAGES",
    "LLM_INPUT_TOKEN_BUDGET",
    "LLM_MAX_CONNECTIONS",
    "LLM_MAX_RETRIES",
    "LLM_MAX_TOKENS",
    "LLM_PROVIDERS",
    "LLM_SILENCE_TIMEOUT_SECONDS",
    "LLM_SUMMARY",
    "LLM_SUMMARY_EVERY_MESSAGES",
    "LLM_SUMMARY_MAX_TOKENS",
    "LLM_TEMPERATURE",
    "LLM_TIMEOUT_SECONDS",
    "LLM_TOKENS_PER_DAY",
    "LLM_TOTAL_TIMEOUT_SECONDS",
    "LLM_URL",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "MAX_CONNECTIONS",
    "MAX_CONNECTIONS_PER_ADDRESS",
    "MAX_IN_FLIGHT",
    "MODEL_NAME",
    "OPERATOR_CONTACT",
    "OPERATOR_NAME",
    "ORPHAN_SECONDS",
    "PER_USER_MAX",
    "PING_SECONDS",
    "PONG_SECONDS",
    "PSICOIA_ADDRESS",
    "PSICOIA_RESUME",
    "PSICOIA_TAG",
    "QUEUE_MAX",
    "QUEUE_TIMEOUT_SECONDS",
    "RATE_ADDRESS_FACTOR",
    "RATE_MAX_MESSAGES",
    "RATE_WINDOW_SECONDS",
    "REDIS_URL",
    "REDIS_URL_FILE",
    "RETENTION_DAYS",
    "STOP_GRACE_PERIOD",
    "SYSTEM_PROMPT_FILE",
    "TCP_HOST",
    "TCP_PORT",
    "TRUSTED_PROXIES",
    "UNREACHED_DAYS",
    "WORKERS",
    "WRITE_SECONDS",
    "WS_HOST",
    "WS_PORT",
];

/// Variables of libraries and tools: OpenTelemetry, Docker, Cargo, TLS, the C library.
const PREFIXES: &[&str] = &["OTEL_", "COMPOSE_", "DOCKER_", "BUILDKIT_", "CARGO_", "RUST", "SSL_CERT_", "LC_"];
const OTHERS: &[&str] = &["PATH", "HOME", "TZ", "LANG", "LANGUAGE", "NO_COLOR", "TMPDIR", "TERM", "UID", "GID"];

/// Returns true if one of the programs, or a tool they are run with, reads a variable of that name.
pub fn is_known_variable(name: &str) -> bool {
    SETTINGS.contains(&name)
        || OTHERS.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        // HTTPS_PROXY, NO_PROXY and the like are used in both cases.
        || name.to_ascii_uppercase().ends_with("_PROXY")
}

/// Returns the setting of which `name` is probably a misspelling.
pub(crate) fn nearest<'a>(name: &str, own: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let known = own.chain(SETTINGS.iter().copied());
    let (distance, nearest) = known.map(|known| (strsim::osa_distance(name, known), known)).min()?;
    (distance * 3 <= name.len()).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["APP_PORT", "HTTP_PORT", "OTEL_SERVICE_NAME", "https_proxy", "NO_PROXY", "COMPOSE_PROJECT_NAME"] {
            assert!(is_known_variable(name), "{name}");
        }
        for (name, want) in [
            ("APP_PROT", Some("APP_PORT")),
            ("GROQ_APIKEY", Some("GROQ_API_KEY")),
            ("app_port", None),
            ("POSTGRES_PASSWORD", None),
            ("X", None),
        ] {
            assert!(!is_known_variable(name), "{name}");
            assert_eq!(nearest(name, std::iter::empty()), want, "{name}");
        }
    }
}
