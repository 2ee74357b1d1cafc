//! Address of the admin port.

use std::io;

use clap::Args;
use tokio::net::TcpListener;

use crate::config_error::ConfigError;

/// Settings of the admin port, common to both services.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// Address or host name of the port for health and metrics; not for the public
    #[arg(long, env = "ADMIN_HOST", default_value = "127.0.0.1")]
    pub admin_host: String,
    /// Port for health and metrics; 0 takes a free one [default: 9101 for core-server, 9102 for ws-gateway]
    #[arg(long, env = "ADMIN_PORT")]
    pub admin_port: Option<String>,
}

/// Address of the admin port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminAddress {
    /// Address or host name.
    pub host: String,
    /// Port; 0 takes a free one.
    pub port: u16,
}

impl AdminArgs {
    /// Returns the address, on `default_port` if none is set; notes problems.
    pub fn check(&self, problems: &mut ConfigError, default_port: u16) -> AdminAddress {
        let port = self.admin_port.as_deref();
        let host = self.admin_host.trim();
        // As in a URL, an IPv6 address may stand in brackets.
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        AdminAddress {
            host: bare.to_owned(),
            port: port.map_or(default_port, |port| problems.number("ADMIN_PORT", port, 0..=u16::MAX)),
        }
    }
}

impl AdminAddress {
    /// Binds the port.
    ///
    /// # Errors
    ///
    /// The port is in use, or the address is not local; the message names both.
    pub async fn bind(&self) -> io::Result<TcpListener> {
        let Self { host, port } = self;
        TcpListener::bind((host.as_str(), *port)).await.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {host}:{port} (ADMIN_HOST, ADMIN_PORT): {error}"))
        })
    }
}
