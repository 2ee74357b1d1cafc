//! A TCP connection to a name with several addresses ("happy eyeballs", RFC 8305).

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

/// Between the beginnings of two attempts; the RFC's recommendation. One black-holed address must not
/// take the whole time that there is.
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first address of `address` that answers. Has no time limit of its own.
pub(super) async fn open(address: &Address) -> Result<TcpStream, WireError> {
    let refused = |why: String| WireError::Lost(format!("cannot connect to {}: {why}", address.authority()));
    let found = lookup_host((address.host(), address.port())).await.map_err(|error| refused(plain(&error)))?;
    let tcp = race(alternating(found)).await.map_err(|failures| refused(told(&failures)))?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// The addresses in turn of the two families, beginning with that of the first.
fn alternating(found: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
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
            // The next one begins at once.
            Some(Err(failure)) => failures.push(failure),
            None => {}
        }
    }
}

fn told(failures: &[(SocketAddr, io::Error)]) -> String {
    match failures {
        [] => "the name has no address".to_owned(),
        [(_, error)] => plain(error),
        several => several.iter().map(|(at, error)| format!("{at}: {}", plain(error))).collect::<Vec<_>>().join(", "),
    }
}

/// The system's words without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn families_take_turns() {
        let order = |texts: &[&str]| {
            let addresses = texts.iter().map(|text| text.parse::<SocketAddr>().unwrap());
            alternating(addresses).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            order(&["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1"]),
            ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]
        );
        assert_eq!(order(&["1.1.1.1:1", "[::1]:1"]), ["1.1.1.1:1", "[::1]:1"]);
        assert_eq!(order(&[]), Vec::<String>::new());
    }

    #[tokio::test]
    async fn one_that_refuses_does_not_hide_one_that_answers() {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let good = open.local_addr().unwrap();
        let tcp = race(VecDeque::from([closed, good])).await.unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), good);
        let failures = race(VecDeque::from([closed, closed])).await.unwrap_err();
        assert_eq!(told(&failures), format!("{closed}: Connection refused, {closed}: Connection refused"));
        assert_eq!(told(&failures[..1]), "Connection refused");
    }
}
