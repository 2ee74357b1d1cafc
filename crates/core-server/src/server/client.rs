//! One client, from its socket to the end of its connection: preamble, admission, service.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use limits::{ConnectionPermit, SocketPermit};
use protocol::CloseReason;
use protocol::trace::TraceId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::Server;
use super::preamble::{self, Preamble};
use crate::connection::{self, Connection, Peer};
use crate::metrics::OpenConnection;

/// Timeout for a rejected client to read its error line.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(1);

struct ClientSocket<'a> {
    /// Address of the socket, not of a PROXY header.
    address: IpAddr,
    counted: OpenConnection<'a>,
    /// `None` for a stream without a socket, as in [`Server::handle`].
    permit: Option<SocketPermit>,
}

/// Client behind a socket.
struct Identified {
    peer: Peer,
    /// Bytes read behind the preamble.
    first: BytesMut,
    is_health_check: bool,
    /// `None` for a health check, and beyond the limits.
    permit: Option<ConnectionPermit>,
}

impl Server {
    /// Serves one client on `stream`, from its first byte to its last; `address` is the socket's.
    pub async fn handle<S>(&self, stream: S, address: IpAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.handle_socket(stream, address, None).await;
    }

    pub(super) async fn handle_socket<S>(&self, stream: S, address: IpAddr, permit: Option<SocketPermit>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut client = ClientSocket { address, counted: self.metrics.open_connection(), permit };
        let reason = self.serve_client(stream, &mut client).await;
        client.counted.closing(reason);
    }

    /// Serves the client until the connection ends.
    async fn serve_client<S>(&self, mut stream: S, client: &mut ClientSocket<'_>) -> CloseReason
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Boxed so that handshake state is freed before the session future runs.
        let identified = match Box::pin(self.identify(&mut stream, client)).await {
            Ok(identified) => identified,
            Err(reason) => return reason,
        };
        let Identified { peer, first, is_health_check, permit } = identified;
        let log = ConnectionLog {
            trace: peer.trace.trace_id,
            address: peer.address,
            is_health_check,
            started_at: peer.connected_at,
        };
        log.opened();
        let reason = if permit.is_some() || is_health_check {
            Box::pin(Connection::new(peer, Arc::clone(&self.context)).run(stream, first)).await
        } else {
            Box::pin(reject_over_capacity(stream, peer)).await
        };
        drop(permit);
        log.closed(reason);
        reason
    }

    /// Reads the preamble and acquires the connection permit.
    ///
    /// # Errors
    ///
    /// The reason to close a connection that is gone, or whose PROXY header is rejected.
    async fn identify<S>(&self, stream: &mut S, client: &mut ClientSocket<'_>) -> Result<Identified, CloseReason>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (started_at, trusted) = (Instant::now(), self.admission.trusts(client.address));
        // An untrusted peer is admitted by its own address before any read: silent sockets must count at once.
        let early = (!trusted).then(|| self.admit(client.address, client));
        let mut first = BytesMut::new();
        let preamble = match early {
            Some(None) => Preamble::Absent,
            Some(Some(_)) | None => self.read_preamble(stream, &mut first, trusted).await,
        };
        let header = match preamble {
            Preamble::Header(header) => Some(header),
            Preamble::Absent => None,
            Preamble::Rejected(reason) => {
                self.log_rejection(client, reason);
                return Err(reason);
            }
        };
        let is_health_check = header.as_ref().is_some_and(|header| header.is_health_check());
        let peer = preamble::peer(header, client.address, started_at, trusted);
        let permit = match early {
            Some(permit) => permit,
            // A full core is alive: its health check must not need a permit.
            None if is_health_check => None,
            None => self.admit(peer.address, client),
        };
        Ok(Identified { peer, first, is_health_check, permit })
    }

    /// Reads the preamble. A trusted peer has the whole timeout, unless too many others wait: then the oldest is
    /// evicted.
    async fn read_preamble<S>(&self, stream: &mut S, first: &mut BytesMut, trusted: bool) -> Preamble
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let reading = preamble::read_preamble(stream, first, self.context.timeouts, trusted);
        if !trusted {
            return reading.await;
        }
        let permit = self.admission.preamble();
        tokio::select! {
            preamble = reading => preamble,
            () = permit.evicted() => Preamble::Rejected(CloseReason::HandshakeTimeout),
        }
    }

    /// Acquires a connection permit for `address`. Connect-rate violations get the same error as a full server, so
    /// that a flooder learns nothing.
    fn admit(&self, address: IpAddr, client: &mut ClientSocket<'_>) -> Option<ConnectionPermit> {
        self.admission.connect(address, Instant::now()).ok()?;
        let permit = self.admission.acquire_connection(address)?;
        if let Some(permit) = &mut client.permit {
            permit.finish_handshake();
        }
        Some(permit)
    }

    /// Logs a connection rejected because of its PROXY header, not one that left.
    fn log_rejection(&self, client: &ClientSocket<'_>, reason: CloseReason) {
        if reason != CloseReason::ClientGone
            && let Some(suppressed) = self.rejection_log.admit(Instant::now())
        {
            tracing::warn!(
                client.address = %client.address, close.reason = %reason, suppressed,
                "connection rejected because of its PROXY header"
            );
        }
    }
}

/// Fields of a connection's log lines.
struct ConnectionLog {
    trace: TraceId,
    address: IpAddr,
    /// Health check of a gateway: one every few seconds, without a person. Its opening is logged at debug level, its
    /// end not at all.
    is_health_check: bool,
    started_at: Instant,
}

impl ConnectionLog {
    fn opened(&self) {
        let Self { trace, address, .. } = self;
        connection::span(*trace).in_scope(|| {
            if self.is_health_check {
                tracing::debug!(client.address = %address, "gateway health check");
            } else {
                tracing::info!(client.address = %address, "connection opened");
            }
        });
    }

    fn closed(&self, reason: CloseReason) {
        let Self { trace, address, .. } = self;
        if !self.is_health_check {
            let duration_ms = u64::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u64::MAX);
            connection::span(*trace).in_scope(|| {
                tracing::info!(client.address = %address, close.reason = %reason, duration_ms, "connection closed");
            });
        }
    }
}

/// Sends `too_many_connections` and reads until the client closes: a socket closed with unread bytes is reset, and the
/// reset may overtake the line.
async fn reject_over_capacity(mut stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer) -> CloseReason {
    let send = async {
        stream.write_all(&connection::too_many_connections(&peer)).await?;
        stream.shutdown().await?;
        let mut unread = [0; 1_024];
        while 0 < stream.read(&mut unread).await? {}
        Ok::<(), io::Error>(())
    };
    // Best effort: give up after the timeout; the socket is closed anyway.
    let _ = timeout(REJECTION_TIMEOUT, send).await;
    CloseReason::TooManyConnections
}
