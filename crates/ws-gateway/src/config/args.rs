//! Raw command line and environment.

use clap::Parser;
use service_runtime::admin::AdminArgs;
use service_runtime::telemetry::TelemetryArgs;

/// Lets browsers talk to PsicoIA: one WebSocket here is one TCP connection to the core.
///
/// Values are checked by [`super::Config::new`], so that one start names all that is wrong.
#[derive(Debug, Clone, Parser)]
#[command(version, about, long_about = None)]
pub struct Args {
    /// Address or host name to listen on
    #[arg(long, env = "WS_HOST", default_value = "127.0.0.1")]
    pub ws_host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "WS_PORT", default_value = "8765")]
    pub ws_port: String,
    /// Addresses or host names of the cores, separated by commas, each perhaps with a port of its own; a name
    /// with several addresses is several cores
    #[arg(long, env = "TCP_HOST", default_value = "127.0.0.1")]
    pub tcp_host: String,
    /// Port of a core that is named without one
    #[arg(long, env = "TCP_PORT", default_value = "5001")]
    pub tcp_port: String,
    /// Networks whose X-Forwarded-For, X-Forwarded-Host and traceparent headers are believed
    #[arg(long, env = "TRUSTED_PROXIES", default_value = "127.0.0.0/8,::1")]
    pub trusted_proxies: String,
    /// Origins whose pages may connect, as `https://example.org`, or `*` for all [default: the host of the request]
    #[arg(long, env = "ALLOWED_ORIGINS")]
    pub allowed_origins: Option<String>,
    /// Most connections at once; lowered where the process may not open two files for each
    #[arg(long, env = "MAX_CONNECTIONS", default_value = "10000")]
    pub max_connections: String,
    /// Most connections at once from one IPv4 address or IPv6 /64 network
    #[arg(long, env = "MAX_CONNECTIONS_PER_ADDRESS", default_value = "256")]
    pub max_connections_per_address: String,
    /// Most new connections within a minute from one IPv4 address or IPv6 /64 network
    #[arg(long, env = "CONNECTS_PER_MINUTE_PER_ADDRESS", default_value = "600")]
    pub connects_per_minute_per_address: String,
    /// Time for a client to send an HTTP request's head
    #[arg(long, env = "HANDSHAKE_SECONDS", default_value = "10")]
    pub handshake_seconds: String,
    /// Time for open connections to close after SIGTERM
    #[arg(long, env = "DRAIN_SECONDS", default_value = "20")]
    pub drain_seconds: String,
    /// Time to connect to a core, all tries together
    #[arg(long, env = "CONNECT_TIMEOUT_SECONDS", default_value = "3")]
    pub connect_timeout_seconds: String,
    /// Time between two pings to a client
    #[arg(long, env = "PING_SECONDS", default_value = "25")]
    pub ping_seconds: String,
    /// Time for a client to answer a ping, and to accept written data
    #[arg(long, env = "PONG_SECONDS", default_value = "10")]
    pub pong_seconds: String,
    /// Name of the operator, shown on the pages `/acerca` and `/proteccion`
    #[arg(long, env = "OPERATOR_NAME")]
    pub operator_name: Option<String>,
    /// Contact of the operator: an e-mail address or a web page
    #[arg(long, env = "OPERATOR_CONTACT")]
    pub operator_contact: Option<String>,
    /// Days that the core keeps messages, shown on the page; 0: until they are erased
    #[arg(long, env = "RETENTION_DAYS", default_value = "0")]
    pub retention_days: String,
    /// Days without a connection after which the core erases a conversation, shown on the page; 0: never
    #[arg(long, env = "UNREACHED_DAYS", default_value = "365")]
    pub unreached_days: String,
    /// Page that the quick exit leads to, an `https://` address: neutral, known, and no surprise in a browser's history
    #[arg(long, env = "EXIT_URL", default_value = "https://www.wikipedia.org/")]
    pub exit_url: String,
    /// Threads that carry connections [default: one per core of the machine]
    #[arg(long, env = "WORKERS")]
    pub workers: Option<String>,
    /// Health and metrics.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// Check the configuration and exit: 0 if it is good, 78 if not
    #[arg(long)]
    pub check_config: bool,
    /// Query the health of the gateway that runs with this configuration and exit: 0 if it is healthy, 1 if not
    #[arg(long, conflicts_with = "check_config")]
    pub check_health: bool,
}
