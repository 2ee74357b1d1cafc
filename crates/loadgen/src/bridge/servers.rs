//! Processes of a comparison, killed on drop.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use testkit::process::{Launch, ProcessError, Service};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::bridge::Options;
use crate::bridge::route::Route;
use crate::error::LoadError;
use crate::folder::Folder;

/// Interval and number of connection attempts while HAProxy starts: five seconds in total.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const MAX_TRIES: usize = 250;

/// Running processes and the routes through them.
#[derive(Debug)]
pub(super) struct Servers {
    routes: Vec<Route>,
    /// Held for their drop, which ends them.
    _services: Vec<Service>,
    _folder: Folder,
}

impl Servers {
    pub(super) async fn start(options: &Options) -> Result<Self, LoadError> {
        let folder = Folder::new(&std::env::temp_dir())?;
        let line = "x".repeat(options.line_bytes.clamp(1, Route::longest_line()));
        let echo = Launch::new(&options.loadgen).argument("echo").directory(folder.path()).start().await?;
        let (echo_address, pid) = address_and_pid(&echo, "echo")?;
        let mut routes = vec![Route::tcp("none (echo)", pid, echo_address, &line)];
        let mut services = vec![echo];
        if let Some(program) = &options.haproxy {
            let (haproxy, address) = start_haproxy(program, echo_address, options, folder.path()).await?;
            routes.push(Route::tcp("HAProxy", pid_of(&haproxy, "HAProxy")?, address, &line));
            services.push(haproxy);
        }
        if let Some(program) = &options.gateway {
            let gateway = start_gateway(program, echo_address, options, folder.path()).await?;
            let (address, pid) = address_and_pid(&gateway, "ws-gateway")?;
            routes.push(Route::websocket("ws-gateway", pid, address, &line));
            services.push(gateway);
        }
        Ok(Self { routes, _services: services, _folder: folder })
    }

    pub(super) fn routes(&self) -> &[Route] {
        &self.routes
    }
}

async fn start_gateway(
    program: &Path,
    echo: SocketAddr,
    options: &Options,
    folder: &Path,
) -> Result<Service, ProcessError> {
    let connections = max_connections(options).to_string();
    let launch = Launch::new(program)
        .env("WS_HOST", "127.0.0.1")
        .env("WS_PORT", "0")
        .env("TCP_HOST", echo.ip().to_string())
        .env("TCP_PORT", echo.port().to_string())
        .env("ADMIN_PORT", "0")
        .env("MAX_CONNECTIONS", &connections)
        .env("MAX_CONNECTIONS_PER_ADDRESS", &connections)
        .env("CONNECTS_PER_MINUTE_PER_ADDRESS", "1000000")
        .env("LOG_FORMAT", "json")
        .directory(folder);
    launch.start().await
}

async fn start_haproxy(
    program: &Path,
    echo: SocketAddr,
    options: &Options,
    folder: &Path,
) -> Result<(Service, SocketAddr), LoadError> {
    // HAProxy does not report a chosen port, so it gets one that was free a moment ago.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
    let mut config = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        config,
        "global\n  maxconn {}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
         listen bridge\n  bind {address}\n  server echo {echo}\n",
        max_connections(options)
    );
    let path = folder.join("haproxy.cfg");
    fs::write(&path, config).map_err(|source| LoadError::File { path: path.clone(), source })?;
    let service = Launch::new(program).argument("-db").argument("-f").argument(&path).directory(folder).spawn()?;
    for _ in 0..MAX_TRIES {
        if TcpStream::connect(address).await.is_ok() {
            return Ok((service, address));
        }
        sleep(POLL_INTERVAL).await;
    }
    Err(LoadError::Route { route: "HAProxy", problem: format!("does not listen: {}", service.logs().join(" | ")) })
}

/// Connections of both phases, with a reserve.
fn max_connections(options: &Options) -> usize {
    options.connections + options.idle + 500
}

fn address_and_pid(service: &Service, name: &'static str) -> Result<(SocketAddr, u32), LoadError> {
    let address = service.listen().ok_or(LoadError::Route { route: name, problem: "has no address".to_owned() })?;
    Ok((address, pid_of(service, name)?))
}

fn pid_of(service: &Service, name: &'static str) -> Result<u32, LoadError> {
    service.pid().ok_or(LoadError::Route { route: name, problem: "has ended".to_owned() })
}
