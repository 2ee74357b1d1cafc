//! Configuration: raw arguments, then the checked [`Config`].

mod args;

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use limits::{AdmissionLimits, RateLimit, SPARE_SOCKETS, TrustedProxies};
use safety::guide::Facts;
use service_runtime::admin::AdminAddress;
use service_runtime::{ConfigError, Operator, ServiceArgs};

pub use self::args::Args;
use crate::bridge::KeepaliveSettings;
use crate::origin::OriginPolicy;
use crate::upstream::{CoreAddresses, looks_like_host};

/// Default port for health and metrics.
const ADMIN_PORT: u16 = 9102;
const MINUTE: Duration = Duration::from_secs(60);
/// File descriptors beside those of connections and workers: listeners, log output, DNS, health checks.
const RESERVED_FDS: u64 = 40;
/// File descriptors of one worker's runtime, and the least number reserved for all workers.
const FDS_PER_WORKER: u64 = 3;
const MIN_WORKER_FDS: u64 = 24;

/// Checked configuration; the gateway's behaviour depends on nothing else.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address or host name to listen on.
    pub host: String,
    /// Port to listen on.
    pub port: u16,
    /// Address of the admin port (health and metrics).
    pub admin: AdminAddress,
    /// Addresses of the cores.
    pub cores: CoreAddresses,
    /// Proxies whose forwarded client address is trusted.
    pub trusted_proxies: TrustedProxies,
    /// Origins that may open a WebSocket.
    pub origins: OriginPolicy,
    /// Maximum number of open WebSocket connections.
    pub max_connections: usize,
    /// Maximum number of open WebSocket connections per IPv4 address or IPv6 /64 network.
    pub max_connections_per_address: usize,
    /// Rate limit for new connections per IPv4 address or IPv6 /64 network.
    pub connects: RateLimit,
    /// Timeout for a request's head.
    pub handshake_limit: Duration,
    /// Time limit for closing connections at shutdown.
    pub drain_limit: Duration,
    /// Timeout for connecting to a core, all attempts included.
    pub connect_limit: Duration,
    /// Ping interval and pong timeout.
    pub keepalive: KeepaliveSettings,
    /// Number of worker threads.
    pub workers: usize,
    /// Facts about the service shown on its pages.
    pub facts: Facts,
    /// Page that the quick exit leads to.
    pub exit_url: String,
}

impl Config {
    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// Lists all problems, each by its variable.
    pub fn new(args: &Args) -> Result<Self, ConfigError> {
        let mut problems = ConfigError::default();
        let config = Self {
            host: host(&mut problems, "WS_HOST", &args.ws_host),
            port: problems.number("WS_PORT", &args.ws_port, 0..=u16::MAX),
            admin: args.admin.check(&mut problems, ADMIN_PORT),
            cores: cores(&mut problems, args),
            trusted_proxies: checked(&mut problems, "TRUSTED_PROXIES", TrustedProxies::parse(&args.trusted_proxies)),
            origins: checked(
                &mut problems,
                "ALLOWED_ORIGINS",
                OriginPolicy::parse(args.allowed_origins.as_deref().unwrap_or_default()),
            ),
            max_connections: problems.number("MAX_CONNECTIONS", &args.max_connections, 1..=1_000_000),
            max_connections_per_address: problems.number(
                "MAX_CONNECTIONS_PER_ADDRESS",
                &args.max_connections_per_address,
                1..=1_000_000,
            ),
            connects: RateLimit {
                events: problems.number(
                    "CONNECTS_PER_MINUTE_PER_ADDRESS",
                    &args.connects_per_minute_per_address,
                    1..=1_000_000,
                ),
                window: MINUTE,
            },
            handshake_limit: problems.seconds("HANDSHAKE_SECONDS", &args.handshake_seconds, 0.1..=3_600.0),
            drain_limit: problems.seconds("DRAIN_SECONDS", &args.drain_seconds, 0.0..=3_600.0),
            connect_limit: problems.seconds("CONNECT_TIMEOUT_SECONDS", &args.connect_timeout_seconds, 0.1..=60.0),
            keepalive: KeepaliveSettings {
                ping_interval: problems.seconds("PING_SECONDS", &args.ping_seconds, 1.0..=3_600.0),
                pong_timeout: problems.seconds("PONG_SECONDS", &args.pong_seconds, 1.0..=3_600.0),
            },
            workers: workers(&mut problems, args.workers.as_deref()),
            facts: facts(&mut problems, args),
            exit_url: exit_url(&mut problems, &args.exit_url),
        };
        args.telemetry.check(&mut problems);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// Returns the admission limits for the gateway's clients.
    pub(crate) fn admission(&self) -> AdmissionLimits {
        AdmissionLimits {
            max_connections: self.max_connections,
            max_connections_per_address: self.max_connections_per_address,
            connects: self.connects,
            trusted: self.trusted_proxies.clone(),
        }
    }

    /// Lowers `max_connections` to fit `files` open files; returns true if it had to.
    ///
    /// Each connection needs two descriptors: the client's socket and the core's.
    pub fn fit_to_file_limit(&mut self, files: u64) -> bool {
        let of_workers = (self.workers as u64 * FDS_PER_WORKER).max(MIN_WORKER_FDS);
        let spare = SPARE_SOCKETS as u64 + RESERVED_FDS + of_workers;
        let fits = usize::try_from(files.saturating_sub(spare) / 2).unwrap_or(usize::MAX).max(1);
        let lower = fits < self.max_connections;
        self.max_connections = self.max_connections.min(fits);
        lower
    }
}

impl ServiceArgs for Args {
    type Config = Config;

    fn check(&self) -> Result<Config, ConfigError> {
        Config::new(self)
    }

    fn only_checks(&self) -> bool {
        self.check_config
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "listens on {}:{}", self.host, self.port)?;
        writeln!(f, "health and metrics on {}:{}", self.admin.host, self.admin.port)?;
        writeln!(f, "cores: {}", self.cores)
    }
}

/// Returns the value, or a default after noting the problem: the configuration is then discarded.
fn checked<T: Default>(problems: &mut ConfigError, variable: &str, value: Result<T, String>) -> T {
    problems.check(variable, value).unwrap_or_default()
}

fn host(problems: &mut ConfigError, variable: &str, text: &str) -> String {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if !looks_like_host(bare) {
        problems.add(variable, format_args!("{text:?} is neither an address nor a host name"));
    }
    bare.to_owned()
}

fn cores(problems: &mut ConfigError, args: &Args) -> CoreAddresses {
    let port = problems.number("TCP_PORT", &args.tcp_port, 1..=u16::MAX);
    checked(problems, "TCP_HOST", CoreAddresses::parse(&args.tcp_host, port))
}

fn facts(problems: &mut ConfigError, args: &Args) -> Facts {
    let operator = Operator::check(problems, args.operator_name.as_deref(), args.operator_contact.as_deref());
    Facts {
        operator: operator.name,
        contact: operator.contact,
        retention_days: problems.number("RETENTION_DAYS", &args.retention_days, 0..=36_500),
        unreached_days: problems.number("UNREACHED_DAYS", &args.unreached_days, 0..=36_500),
    }
}

fn exit_url(problems: &mut ConfigError, text: &str) -> String {
    let text = text.trim();
    let host = text.strip_prefix("https://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'<>\\`".contains(&byte));
    let is_host = host.is_some_and(|host| looks_like_host(host.split_once(':').map_or(host, |(name, _)| name)));
    if !is_host || !is_printable {
        problems.add("EXIT_URL", format_args!("{text:?} is not an address such as https://www.wikipedia.org/"));
    }
    text.to_owned()
}

fn workers(problems: &mut ConfigError, text: Option<&str>) -> usize {
    match text {
        Some(text) => problems.number("WORKERS", text, 1..=1_024),
        None => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
    }
}
