//! TCP proxy to several gateways that breaks connections at given bytes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Point at which a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// After this many bytes to the server.
    Up(u64),
    /// After this many bytes from the server.
    Down(u64),
}

/// Running proxy. Breaks its connections on drop.
pub(crate) struct FlakyProxy {
    address: SocketAddr,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
}

/// Traffic counters.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) connections: AtomicUsize,
    pub(crate) cuts: AtomicUsize,
    pub(crate) up: AtomicU64,
    pub(crate) down: AtomicU64,
}

impl Drop for FlakyProxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl FlakyProxy {
    /// Starts a proxy that connects to `gateways` round-robin, skipping dead ones.
    pub(crate) async fn to(gateways: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self::with_cuts(gateways, &[]).await
    }

    /// Starts a proxy that breaks connections at `cuts` in order; a connection that ends earlier leaves its cut to the next.
    pub(crate) async fn with_cuts(gateways: impl IntoIterator<Item = SocketAddr>, cuts: &[Cut]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (traffic, stop) = (Arc::default(), CancellationToken::new());
        let (gateways, cuts) = (gateways.into_iter().collect(), cuts.to_vec());
        let accepting = accept_all(listener, gateways, cuts, Arc::clone(&traffic), stop.clone());
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(accepting));
        Self { address, traffic, stop }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

async fn accept_all(
    listener: TcpListener,
    gateways: Vec<SocketAddr>,
    cuts: Vec<Cut>,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    for number in 0.. {
        let (client, _) = listener.accept().await.unwrap();
        traffic.connections.fetch_add(1, Ordering::Relaxed);
        let cut = cuts.get(traffic.cuts.load(Ordering::Relaxed)).copied();
        let gateways: Vec<_> = (0..gateways.len()).map(|next| gateways[(number + next) % gateways.len()]).collect();
        let carrying = carry(client, gateways, cut, Arc::clone(&traffic));
        tasks.spawn(stop.clone().run_until_cancelled_owned(carrying));
    }
}

/// Forwards both directions until one ends or is cut. Without a live gateway the connection is closed.
async fn carry(mut client: TcpStream, gateways: Vec<SocketAddr>, cut: Option<Cut>, traffic: Arc<Traffic>) {
    let Some(mut gateway) = connect(gateways).await else { return };
    let (up_limit, down_limit) = match cut {
        None => (u64::MAX, u64::MAX),
        Some(Cut::Up(bytes)) => (bytes, u64::MAX),
        Some(Cut::Down(bytes)) => (u64::MAX, bytes),
    };
    let _ = (client.set_nodelay(true), gateway.set_nodelay(true));
    let ((from_client, to_client), (from_gateway, to_gateway)) = (client.split(), gateway.split());
    let was_cut = tokio::select! {
        was_cut = copy(from_client, to_gateway, up_limit, &traffic.up) => was_cut,
        was_cut = copy(from_gateway, to_client, down_limit, &traffic.down) => was_cut,
    };
    traffic.cuts.fetch_add(usize::from(was_cut.unwrap_or(false)), Ordering::Relaxed);
}

async fn connect(gateways: Vec<SocketAddr>) -> Option<TcpStream> {
    for gateway in gateways {
        if let Ok(stream) = TcpStream::connect(gateway).await {
            return Some(stream);
        }
    }
    None
}

/// Copies up to `limit` bytes; true if the limit ended the copy.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    limit: u64,
    carried: &AtomicU64,
) -> io::Result<bool> {
    let mut left = limit;
    let mut bytes = [0; 4_096];
    while 0 < left {
        let most = usize::try_from(left).unwrap_or(bytes.len()).min(bytes.len());
        let count = from.read(&mut bytes[..most]).await?;
        if count == 0 {
            return Ok(false);
        }
        to.write_all(&bytes[..count]).await?;
        left -= count as u64;
        carried.fetch_add(count as u64, Ordering::Relaxed);
    }
    Ok(true)
}
