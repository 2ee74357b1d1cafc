//! TCP proxy that delays traffic in both directions.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Maximum size of a chunk.
const CHUNK_BYTES: usize = 16 * 1_024;
/// Maximum number of chunks in transit per direction. Beyond it reading pauses, and TCP flow control slows the sender.
const CHUNKS: usize = 256;

/// TCP proxy that delays every chunk by a fixed time in each direction. Its connections break on drop.
///
/// Delays data, not the connect.
#[derive(Debug)]
pub struct DelayProxy {
    address: SocketAddr,
    _stop: DropGuard,
}

impl DelayProxy {
    /// Listens at `listen` on a free port and forwards to `target` and back, with a delay of `hold` each way.
    ///
    /// # Errors
    ///
    /// The address cannot be bound.
    pub async fn start(listen: IpAddr, target: SocketAddr, hold: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((listen, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let accepting = accept_all(listener, target, hold, stop.clone());
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(accepting));
        Ok(Self { address, _stop: stop.drop_guard() })
    }

    /// Returns the listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept_all(listener: TcpListener, target: SocketAddr, hold: Duration, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    loop {
        // Accept errors (no descriptors left, client gone) must not end the proxy.
        let Ok((client, _)) = listener.accept().await else { continue };
        let carrying = async move {
            // An unreachable target closes the client's connection.
            if let Ok(server) = TcpStream::connect(target).await {
                // A failure only costs latency.
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::join!(carry(from_client, to_server, hold), carry(from_server, to_client, hold));
            }
        };
        tasks.spawn(stop.clone().run_until_cancelled_owned(carrying));
    }
}

/// Forwards one direction, then shuts down its write half.
async fn carry(from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin, hold: Duration) {
    let (chunks, held) = channel(CHUNKS);
    tokio::join!(take(from, chunks, hold), deliver(held, to));
}

async fn take(mut from: impl AsyncRead + Unpin, chunks: Sender<(Instant, Bytes)>, hold: Duration) {
    loop {
        let mut bytes = BytesMut::with_capacity(CHUNK_BYTES);
        // A reset counts as the end.
        if from.read_buf(&mut bytes).await.unwrap_or_default() == 0 {
            return;
        }
        if chunks.send((Instant::now() + hold, bytes.freeze())).await.is_err() {
            return;
        }
    }
}

async fn deliver(mut held: Receiver<(Instant, Bytes)>, mut to: impl AsyncWrite + Unpin) {
    while let Some((due, bytes)) = held.recv().await {
        sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    // Fails only if the peer is gone.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HOLD: Duration = Duration::from_millis(100);

    /// Starts an echo server.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        TaskTracker::new().spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
            to.shutdown().await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn delays_without_change() {
        let relay = DelayProxy::start(Ipv4Addr::LOCALHOST.into(), echo().await, HOLD).await.unwrap();
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        let sent: Vec<u8> = (0..=u8::MAX).cycle().take(3 * CHUNK_BYTES).collect();
        let begin = Instant::now();
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        assert!(2 * HOLD <= begin.elapsed(), "{:?}", begin.elapsed());
        assert_eq!(got, sent);
    }

    #[tokio::test]
    async fn closes_connections_on_drop() {
        let relay = DelayProxy::start(Ipv4Addr::LOCALHOST.into(), echo().await, Duration::ZERO).await.unwrap();
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        drop(relay);
        assert_eq!(stream.read(&mut [0]).await.unwrap_or_default(), 0);
    }
}
