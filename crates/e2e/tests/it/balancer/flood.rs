//! Connection flood from one address, and its effect on others.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use testkit::watchdog::{LIMIT, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::haproxy::Haproxy;
use super::roaming_client::RoamingClient;
use crate::single_node::Plan;

const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// `MAX_CONNECTIONS_PER_ADDRESS` of the balancer, which allows twice as many, because browsers open two each.
const PER_ADDRESS: usize = 8;

/// Connection with half a request.
async fn half_a_request(balancer: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((FLOODER, 0).into())?;
    let mut stream = socket.connect(balancer).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await?;
    Ok(stream)
}

async fn closed(stream: io::Result<TcpStream>) {
    if let Ok(mut stream) = stream {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

#[tokio::test]
async fn one_address_is_limited_to_its_share() {
    let node = Plan::with_gateway().start().await;
    let gateways = [node.gateways[0].address()];
    let limit = PER_ADDRESS.to_string();
    let haproxy =
        Haproxy::start(&node.subfolder("haproxy"), &gateways, &[("MAX_CONNECTIONS_PER_ADDRESS", &limit)]).await;

    let opened = join_all((0..10 * PER_ADDRESS).map(|_| half_a_request(haproxy.address()))).await;
    let mut closed: FuturesUnordered<_> = opened.into_iter().map(closed).collect();
    // Closed at accept, long before the timeout for request heads.
    while 2 * PER_ADDRESS + 1 < closed.len() {
        within(LIMIT, closed.next()).await.unwrap();
    }
    let mut person = RoamingClient::arrive(20, haproxy.address()).await;
    assert_eq!(person.ask("m1", "hola").await, "eco: hola");
    assert!(PER_ADDRESS <= closed.len(), "{} are held", closed.len());
}
