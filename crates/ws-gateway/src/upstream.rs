//! The way to a core: pick one, connect, and say on whose behalf.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Silence after which the kernel asks whether the core's machine is still there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

/// Where the core listens. A name with several addresses is several cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreAddress {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for CoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why there is no connection to a core.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The host name has no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve { host: String, source: io::Error },
    /// No address answered in its share of the time.
    #[error("no answer from {address} within {limit:?}")]
    TimedOut { address: CoreAddress, limit: Duration },
    /// The last address tried refused.
    #[error("cannot connect to {address}: {source}")]
    Refused { address: SocketAddr, source: io::Error },
}

/// Connects to one of the cores at `address`, in an order of chance, within `limit` for all of them.
///
/// # Errors
///
/// None could be reached; the error is the last one's.
///
/// # Cancel safety
///
/// Safe: a connection that is being made is given up.
pub(crate) async fn connect(address: &CoreAddress, limit: Duration) -> Result<TcpStream, ConnectError> {
    let timed_out = || ConnectError::TimedOut { address: address.clone(), limit };
    timeout(limit, connect_any(address, limit)).await.map_err(|_| timed_out())?
}

async fn connect_any(address: &CoreAddress, limit: Duration) -> Result<TcpStream, ConnectError> {
    let unresolved = |source| ConnectError::Resolve { host: address.host.clone(), source };
    let found = lookup_host((address.host.as_str(), address.port)).await.map_err(unresolved)?;
    let mut addresses: Vec<SocketAddr> = found.collect();
    fastrand::shuffle(&mut addresses);
    let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut error = unresolved(io::ErrorKind::NotFound.into());
    for core in addresses {
        match timeout(share, TcpStream::connect(core)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => error = ConnectError::Refused { address: core, source },
            Err(_) => error = ConnectError::TimedOut { address: address.clone(), limit: share },
        }
    }
    Err(error)
}

/// Sets what a long-lived connection to the core needs: small lines leave at once, a dead machine is noticed.
///
/// # Errors
///
/// The socket is not connected any more.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
