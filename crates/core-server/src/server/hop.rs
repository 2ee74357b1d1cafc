//! The first bytes of a connection: a PROXY header, or an ordinary client already talking.

use std::net::IpAddr;

use bytes::{Buf as _, BytesMut};
use protocol::proxy_header::{ProxyHeader, ProxyHeaderParse, parse};
use protocol::trace::Traceparent;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

use crate::connection::{Peer, Times};

/// How a connection began.
#[derive(Debug)]
pub(super) enum Arrival {
    /// With a header, which has been removed from the bytes read.
    Header(ProxyHeader),
    /// With something else, or nothing for the greeting delay.
    Ordinary,
    /// With a header that cannot be read.
    BadHeader,
    /// With a header, of somebody whose word is not believed.
    Untrusted,
    /// With part of a header whose rest did not come in time.
    Late,
    /// It closed before it said anything.
    Lost,
}

/// Reads until it is clear whether there is a header. `first` holds what was read and is not
/// part of it.
///
/// Of a peer that is not `trusted` no header is read: the first byte that certainly belongs to one is enough.
pub(super) async fn arrive(
    stream: &mut (impl AsyncRead + Unpin),
    first: &mut BytesMut,
    times: Times,
    trusted: bool,
) -> Arrival {
    let begin = Instant::now();
    loop {
        let deadline = match parse(first) {
            ProxyHeaderParse::Header { .. }
            | ProxyHeaderParse::Invalid
            | ProxyHeaderParse::Incomplete { unambiguous: true }
                if !trusted =>
            {
                return Arrival::Untrusted;
            }
            ProxyHeaderParse::Header { header, len } => {
                first.advance(len);
                return Arrival::Header(header);
            }
            ProxyHeaderParse::Absent => return Arrival::Ordinary,
            ProxyHeaderParse::Invalid => return Arrival::BadHeader,
            ProxyHeaderParse::Incomplete { unambiguous: true } => begin + times.handshake,
            ProxyHeaderParse::Incomplete { unambiguous: false } => begin + times.greet_delay,
        };
        match timeout_at(deadline, stream.read_buf(first)).await {
            Err(_) if deadline == begin + times.greet_delay => return Arrival::Ordinary,
            Err(_) => return Arrival::Late,
            Ok(Ok(0)) if first.is_empty() => return Arrival::Lost,
            // It closed its sending side; what it sent is for the connection to judge.
            Ok(Ok(0)) => return Arrival::Ordinary,
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Arrival::Lost,
        }
    }
}

impl Arrival {
    /// Whether a gateway only asks whether the core answers.
    pub(super) fn is_check(&self) -> bool {
        matches!(self, Self::Header(header) if header.is_health_check())
    }

    /// Who is at the other end of a connection from `address` that began at `since`. A `trusted` one without
    /// a header may be a gateway that is slow.
    pub(super) fn peer(self, address: IpAddr, since: Instant, trusted: bool) -> Peer {
        let header = match self {
            Self::Header(header) => Some(header),
            Self::Ordinary | Self::BadHeader | Self::Untrusted | Self::Late | Self::Lost => None,
        };
        let source = header.as_ref().and_then(|header| header.source);
        let announced = header.as_ref().and_then(|header| header.trace);
        Peer {
            address: source.map_or(address, |source| source.ip()).to_canonical(),
            trace: announced.unwrap_or_else(Traceparent::random),
            face: header.as_ref().and_then(|header| header.face),
            may_introduce: trusted && header.is_none(),
            closing_line: header.is_some_and(|header| header.closing_line),
            since,
        }
    }
}
