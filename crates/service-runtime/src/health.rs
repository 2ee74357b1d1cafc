//! Client side of `--check-health`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// Timeout of each step: connect, read, write. Docker kills a check after 3 s (`deploy/Dockerfile`).
const LIMIT: Duration = Duration::from_secs(3);

/// Connects to the server that listens on `host` and `port` of this machine. Reads and writes time out after seconds.
///
/// # Errors
///
/// The name does not resolve, or the connection is refused.
pub fn connect_to_own_server(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut address = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    // A server on the unspecified address also listens on loopback.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    let stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}
