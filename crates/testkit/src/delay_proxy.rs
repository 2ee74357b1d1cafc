//! A longer way to a server: everything that goes over it arrives later, in both directions.

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

/// Most bytes of a chunk.
const CHUNK_BYTES: usize = 16 * 1_024;
/// Chunks on their way in one direction of a connection, at most. While there are so many nothing
/// more is read, and the sender's own TCP connection fills up.
const CHUNKS: usize = 256;

/// A TCP relay that holds every chunk for a set time, each way. Its connections break when it is
/// dropped.
///
/// It delays what is said on a connection, not the connection's beginning.
#[derive(Debug)]
pub struct DelayProxy {
    address: SocketAddr,
    _stop: DropGuard,
}

impl DelayProxy {
    /// Listens at `listen`, on a port of its own, and carries everything to `target` and back,
    /// `hold` later.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on.
    pub async fn start(listen: IpAddr, target: SocketAddr, hold: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind((listen, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let accepting = accept_all(listener, target, hold, stop.clone());
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(accepting));
        Ok(Self { address, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept_all(listener: TcpListener, target: SocketAddr, hold: Duration, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    loop {
        // Out of file descriptors or a client already gone: neither ends the relay.
        let Ok((client, _)) = listener.accept().await else { continue };
        let carrying = async move {
            // A target that cannot be reached is for the client to notice: its connection ends.
            if let Ok(server) = TcpStream::connect(target).await {
                // Only costs time if it fails.
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::join!(carry(from_client, to_server, hold), carry(from_server, to_client, hold));
            }
        };
        tasks.spawn(stop.clone().run_until_cancelled_owned(carrying));
    }
}

/// One direction. How it ends is for both ends to see: the sending side is closed.
async fn carry(from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin, hold: Duration) {
    let (chunks, held) = channel(CHUNKS);
    tokio::join!(take(from, chunks, hold), deliver(held, to));
}

async fn take(mut from: impl AsyncRead + Unpin, chunks: Sender<(Instant, Bytes)>, hold: Duration) {
    loop {
        let mut bytes = BytesMut::with_capacity(CHUNK_BYTES);
        // A connection that broke has ended too.
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
    // Whoever is gone needs no end.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HOLD: Duration = Duration::from_millis(100);

    /// A server that sends back what it gets, up to its end.
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
