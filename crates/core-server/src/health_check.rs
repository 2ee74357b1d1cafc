//! `--check-health`: for containers without a shell.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use crate::config::Config;

const LIMIT: Duration = Duration::from_secs(3);

/// Asks the core that runs with `config` whether it lives: it must answer a frame, which
/// opens no session.
///
/// # Errors
///
/// It cannot be reached or does not answer within seconds.
pub fn check_health(config: &Config) -> io::Result<()> {
    let found = (config.host.as_str(), config.port).to_socket_addrs()?.next();
    let address = here(found.ok_or(io::ErrorKind::NotFound)?);
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(b"{\"type\":\"ping\"}\n")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.contains("hello_required") {
        Ok(())
    } else {
        Err(io::Error::other(format!("{address} does not answer as a core does")))
    }
}

/// What listens everywhere listens here too.
fn here(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}
