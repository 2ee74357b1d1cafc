//! HAProxy with the deployed configuration, except its addresses.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use testkit::process::{Launch, Service};
use tokio::net::TcpSocket;

use crate::http;

/// Rule of a proxy that lets no WebSocket through.
const NO_UPGRADES: &str = "    http-request deny deny_status 403 if { req.hdr(upgrade) -m found }";

/// Running balancer. Killed on drop.
pub(crate) struct Haproxy {
    address: SocketAddr,
    service: Service,
    /// Reserves the port: bound but not listening, shared with HAProxy by `SO_REUSEPORT`.
    _port: TcpSocket,
}

impl Haproxy {
    /// Starts a balancer in front of `gateways`, with its configuration in `folder` and these environment variables.
    pub(super) async fn start(folder: &Path, gateways: &[SocketAddr], environment: &[(&str, &str)]) -> Self {
        Self::with_rule(folder, gateways, environment, "").await
    }

    /// Starts a balancer that refuses every upgrade.
    pub(crate) async fn without_upgrades(folder: &Path, gateways: &[SocketAddr]) -> Self {
        Self::with_rule(folder, gateways, &[], NO_UPGRADES).await
    }

    async fn with_rule(folder: &Path, gateways: &[SocketAddr], environment: &[(&str, &str)], rule: &str) -> Self {
        let port = TcpSocket::new_v4().unwrap();
        port.set_reuseport(true).unwrap();
        port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = port.local_addr().unwrap();
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, configuration(address, gateways, rule)).unwrap();
        let launch = Launch::new("haproxy").argument("-db").argument("-f").argument(&file);
        let launch = environment.iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        let service =
            launch.spawn().unwrap_or_else(|error| panic!("{error}: this test needs haproxy (Debian: haproxy)"));
        let mut haproxy = Self { address, service, _port: port };
        haproxy.until_it_listens().await;
        haproxy
    }

    /// Waits until it listens. HAProxy logs no ready line, but exits at once on an invalid configuration.
    async fn until_it_listens(&mut self) {
        tokio::select! {
            ended = self.service.wait() => panic!("{ended:?}\n{}", self.service.logs().join("\n")),
            () = http::until_status(self.address, "/balancer/health", 200) => {}
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn configuration(address: SocketAddr, gateways: &[SocketAddr], rule: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/balancer/haproxy.cfg");
    let deployed = std::fs::read_to_string(&file).unwrap();
    let (sections, resolvers) = deployed.split_once("\nresolvers ").expect("a last section with the resolvers");
    assert!(resolvers.lines().skip(1).all(|line| line.is_empty() || line.starts_with(' ')), "{resolvers}");
    let mut replaced = (0, 0);
    let mut text = String::new();
    for line in sections.lines() {
        let word = line.split_whitespace().next();
        // Writing to a String cannot fail.
        let _ = match word {
            Some("bind") => {
                replaced.0 += 1;
                writeln!(text, "    bind {address}\n{rule}")
            }
            Some("server-template") => {
                replaced.1 += 1;
                (1..)
                    .zip(gateways)
                    .try_for_each(|(number, gateway)| writeln!(text, "    server gateway{number} {gateway}"))
            }
            _ => writeln!(text, "{line}"),
        };
    }
    assert_eq!(replaced, (1, 1), "one bind and one server-template are expected in haproxy.cfg");
    text
}
