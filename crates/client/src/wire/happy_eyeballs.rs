//! TCP connection to a name with several addresses ("Happy Eyeballs", RFC 8305).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::sleep;

use super::WireError;
use crate::address::Address;

/// Delay between the starts of two attempts (RFC 8305, section 5, recommends 250 ms). One black-holed
/// address must not use up the connect timeout.
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first address of `address` that answers. The caller bounds the time.
pub(super) async fn open(address: &Address) -> Result<TcpStream, WireError> {
    let failed = |why: String| WireError::Lost(format!("cannot connect to {}: {why}", address.authority()));
    let found = lookup_host((address.host(), address.port())).await.map_err(|error| failed(without_os_code(&error)))?;
    let tcp = race(interleave_families(found)).await.map_err(|failures| failed(describe_failures(&failures)))?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// Alternates the address families, beginning with that of the first address.
fn interleave_families(found: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let found: Vec<_> = found.collect();
    let first = found.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) = found.into_iter().partition(|it| it.is_ipv6() == first);
    let mut order = VecDeque::new();
    while !one.is_empty() || !other.is_empty() {
        order.extend(one.pop_front());
        order.extend(other.pop_front());
    }
    order
}

async fn race(mut addresses: VecDeque<SocketAddr>) -> Result<TcpStream, Vec<(SocketAddr, io::Error)>> {
    let attempt = async |address| TcpStream::connect(address).await.map_err(|error| (address, error));
    let (mut attempts, mut failures) = (FuturesUnordered::new(), Vec::new());
    loop {
        attempts.extend(addresses.pop_front().map(attempt));
        if attempts.is_empty() {
            return Err(failures);
        }
        let ended = if addresses.is_empty() {
            attempts.next().await
        } else {
            tokio::select! {
                ended = attempts.next() => ended,
                () = sleep(STAGGER) => None,
            }
        };
        match ended {
            Some(Ok(tcp)) => return Ok(tcp),
            // The next attempt starts without waiting for the stagger.
            Some(Err(failure)) => failures.push(failure),
            None => {}
        }
    }
}

fn describe_failures(failures: &[(SocketAddr, io::Error)]) -> String {
    match failures {
        [] => "the name has no address".to_owned(),
        [(_, error)] => without_os_code(error),
        several => {
            several.iter().map(|(at, error)| format!("{at}: {}", without_os_code(error))).collect::<Vec<_>>().join(", ")
        }
    }
}

/// Error text without the OS error number.
fn without_os_code(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn interleaves_address_families() {
        let order = |texts: &[&str]| {
            let addresses = texts.iter().map(|text| text.parse::<SocketAddr>().unwrap());
            interleave_families(addresses).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            order(&["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1"]),
            ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]
        );
        assert_eq!(order(&["1.1.1.1:1", "[::1]:1"]), ["1.1.1.1:1", "[::1]:1"]);
        assert_eq!(order(&[]), Vec::<String>::new());
    }

    #[tokio::test]
    async fn falls_back_to_the_next_address() {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let good = open.local_addr().unwrap();
        let tcp = race(VecDeque::from([closed, good])).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), good);
        let failures = race(VecDeque::from([closed, closed])).await.unwrap_err();
        assert_eq!(describe_failures(&failures), format!("{closed}: Connection refused, {closed}: Connection refused"));
        assert_eq!(describe_failures(&failures[..1]), "Connection refused");
    }
}
