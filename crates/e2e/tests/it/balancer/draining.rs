//! Draining gateway that the balancer still considers ready.

use std::net::SocketAddr;

use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::TaskTracker;

use super::haproxy::Haproxy;
use super::roaming_client::RoamingClient;
use crate::single_node::Plan;

/// Gateway that passes health checks and responds 503 to other requests, as one does between SIGTERM and its second
/// failed check.
struct Draining {
    address: SocketAddr,
    refused: watch::Receiver<usize>,
    _serving: AbortOnDropHandle<()>,
}

impl Draining {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (count, refused) = watch::channel(0);
        let tasks = TaskTracker::new();
        let serving = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = answer(stream, &count).await;
            }
        };
        Self { address, refused, _serving: AbortOnDropHandle::new(tasks.spawn(serving)) }
    }
}

async fn answer(stream: TcpStream, refused: &watch::Sender<usize>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut head, mut line) = (String::new(), String::new());
    while stream.read_line(&mut line).await? > 2 {
        head.push_str(&line);
        line.clear();
    }
    let status = if head.starts_with("GET /readyz") {
        "200 OK"
    } else {
        refused.send_modify(|refused| *refused += 1);
        "503 Service Unavailable"
    };
    let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.get_mut().write_all(response.as_bytes()).await?;
    stream.get_mut().shutdown().await
}

#[tokio::test]
async fn reconnecting_clients_reach_another_gateway() {
    let node = Plan::with_gateway().start().await;
    let draining = Draining::start().await;
    let gateways = [draining.address, node.gateways[0].address()];
    let haproxy = Haproxy::start(&node.subfolder("haproxy"), &gateways, &[]).await;

    // leastconn sends each new connection to the draining gateway first.
    let people = join_all((20..40).map(|home| RoamingClient::arrive(home, haproxy.address()))).await;
    assert_eq!(people.len(), 20);
    assert!(0 < *draining.refused.borrow(), "the draining gateway was never tried");
}
