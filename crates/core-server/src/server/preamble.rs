//! Preamble of a connection: a PROXY header, or the first bytes of a client without one.

use std::net::IpAddr;

use bytes::{Buf as _, BytesMut};
use protocol::proxy_header::{ProxyHeader, ProxyHeaderParse, parse};
use protocol::trace::Traceparent;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

use crate::connection::{Peer, Timeouts};

#[derive(Debug)]
pub(super) enum Preamble {
    /// PROXY header, removed from the bytes read.
    Header(ProxyHeader),
    /// Other bytes, or none within the greeting delay.
    Absent,
    Malformed,
    /// PROXY header of an untrusted peer.
    Untrusted,
    /// Incomplete header at the handshake timeout, or at its eviction in favour of newer connections.
    TimedOut,
    /// Closed before the first byte, or failed.
    Closed,
}

/// Reads until a PROXY header is complete or ruled out. Leaves in `first` the bytes that belong to no header.
///
/// Rejects an untrusted peer at the first byte that belongs to a header for certain.
pub(super) async fn read_preamble(
    stream: &mut (impl AsyncRead + Unpin),
    first: &mut BytesMut,
    timeouts: Timeouts,
    trusted: bool,
) -> Preamble {
    let started_at = Instant::now();
    loop {
        let deadline = match parse(first) {
            ProxyHeaderParse::Header { .. }
            | ProxyHeaderParse::Invalid
            | ProxyHeaderParse::Incomplete { unambiguous: true }
                if !trusted =>
            {
                return Preamble::Untrusted;
            }
            ProxyHeaderParse::Header { header, len } => {
                first.advance(len);
                return Preamble::Header(header);
            }
            ProxyHeaderParse::Absent => return Preamble::Absent,
            ProxyHeaderParse::Invalid => return Preamble::Malformed,
            ProxyHeaderParse::Incomplete { unambiguous: true } => started_at + timeouts.handshake,
            ProxyHeaderParse::Incomplete { unambiguous: false } => started_at + timeouts.greet_delay,
        };
        match timeout_at(deadline, stream.read_buf(first)).await {
            Err(_) if deadline == started_at + timeouts.greet_delay => return Preamble::Absent,
            Err(_) => return Preamble::TimedOut,
            Ok(Ok(0)) if first.is_empty() => return Preamble::Closed,
            // Half-closed: the connection handles the bytes sent before.
            Ok(Ok(0)) => return Preamble::Absent,
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Preamble::Closed,
        }
    }
}

impl Preamble {
    pub(super) fn is_health_check(&self) -> bool {
        matches!(self, Self::Header(header) if header.is_health_check())
    }

    /// Returns the peer of a socket from `address`. A `trusted` one without a header may be a slow gateway.
    pub(super) fn peer(self, address: IpAddr, connected_at: Instant, trusted: bool) -> Peer {
        let header = match self {
            Self::Header(header) => Some(header),
            Self::Absent | Self::Malformed | Self::Untrusted | Self::TimedOut | Self::Closed => None,
        };
        let source = header.as_ref().and_then(|header| header.source);
        let announced = header.as_ref().and_then(|header| header.trace);
        Peer {
            address: source.map_or(address, |source| source.ip()).to_canonical(),
            trace: announced.unwrap_or_else(Traceparent::random),
            face: header.as_ref().and_then(|header| header.face),
            accepts_late_header: trusted && header.is_none(),
            closing_line: header.is_some_and(|header| header.closing_line),
            connected_at,
        }
    }
}
