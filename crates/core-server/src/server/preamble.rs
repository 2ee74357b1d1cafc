//! The first bytes of a connection: a PROXY header, or an ordinary client already talking.

use std::net::IpAddr;

use bytes::{Buf as _, BytesMut};
use protocol::proxy_header::{ProxyHeader, ProxyHeaderParse, parse};
use protocol::trace::Traceparent;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

use crate::connection::{Peer, Timeouts};

/// How a connection began.
#[derive(Debug)]
pub(super) enum Preamble {
    /// With a header, which has been removed from the bytes read.
    Header(ProxyHeader),
    /// With something else, or nothing for the greeting delay.
    Absent,
    /// With a header that cannot be read.
    Malformed,
    /// With a header, of somebody whose word is not believed.
    Untrusted,
    /// With part of a header whose rest did not come in time.
    TimedOut,
    /// It closed before it said anything.
    Closed,
}

/// Reads until it is clear whether there is a header. `first` holds what was read and is not
/// part of it.
///
/// Of a peer that is not `trusted` no header is read: the first byte that certainly belongs to one is enough.
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
            // It closed its sending side; what it sent is for the connection to judge.
            Ok(Ok(0)) => return Preamble::Absent,
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Preamble::Closed,
        }
    }
}

impl Preamble {
    /// Whether a gateway only asks whether the core answers.
    pub(super) fn is_health_check(&self) -> bool {
        matches!(self, Self::Header(header) if header.is_health_check())
    }

    /// Who is at the other end of a connection from `address` that began at `since`. A `trusted` one without
    /// a header may be a gateway that is slow.
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
