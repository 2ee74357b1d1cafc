//! Preamble of a connection: a PROXY header, or the first bytes of a client without one.

use std::net::IpAddr;

use bytes::{Buf as _, BytesMut};
use protocol::CloseReason;
use protocol::proxy_header::{ProxyHeader, ProxyHeaderParse, parse};
use protocol::trace::Traceparent;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

use crate::config::Timeouts;
use crate::connection::Peer;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Preamble {
    /// PROXY header, removed from the bytes read.
    Header(ProxyHeader),
    /// Other bytes, or none within the greeting delay: a person.
    Absent,
    /// End of the connection: closed before the first byte, or because of its PROXY header.
    Rejected(CloseReason),
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
                return Preamble::Rejected(CloseReason::Unauthorized);
            }
            ProxyHeaderParse::Header { header, len } => {
                first.advance(len);
                return Preamble::Header(header);
            }
            ProxyHeaderParse::Absent => return Preamble::Absent,
            ProxyHeaderParse::Invalid => return Preamble::Rejected(CloseReason::BadHeader),
            ProxyHeaderParse::Incomplete { unambiguous: true } => started_at + timeouts.handshake,
            ProxyHeaderParse::Incomplete { unambiguous: false } => started_at + timeouts.greet_delay,
        };
        match timeout_at(deadline, stream.read_buf(first)).await {
            Err(_) if deadline == started_at + timeouts.greet_delay => return Preamble::Absent,
            Err(_) => return Preamble::Rejected(CloseReason::HandshakeTimeout),
            Ok(Ok(0)) if first.is_empty() => return Preamble::Rejected(CloseReason::ClientGone),
            // Half-closed: the connection handles the bytes sent before.
            Ok(Ok(0)) => return Preamble::Absent,
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Preamble::Rejected(CloseReason::ClientGone),
        }
    }
}

/// Returns the peer of a socket from `address`. A `trusted` one without a `header` may be a slow gateway.
pub(super) fn peer(header: Option<ProxyHeader>, address: IpAddr, connected_at: Instant, trusted: bool) -> Peer {
    let late_header = match (trusted, &header) {
        (false, _) => CloseReason::Unauthorized,
        (true, None) => CloseReason::LateHeader,
        (true, Some(_)) => CloseReason::BadHeader,
    };
    let source = header.as_ref().and_then(|header| header.source);
    let announced = header.as_ref().and_then(|header| header.trace);
    Peer {
        address: source.map_or(address, |source| source.ip()).to_canonical(),
        trace: announced.unwrap_or_else(Traceparent::random),
        face: header.as_ref().and_then(|header| header.face),
        closing_line: header.is_some_and(|header| header.closing_line),
        late_header,
        connected_at,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::Face;
    use tokio::io::{AsyncWriteExt as _, duplex};
    use tokio::time::sleep;

    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        greet_delay: Duration::from_millis(100),
        handshake: Duration::from_secs(10),
        idle: Duration::from_secs(900),
        write: Duration::from_secs(30),
        drain: Duration::from_secs(20),
    };
    const GREET: u64 = 100;
    const HANDSHAKE: u64 = 10_000;
    const V1: &[u8] = b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 5001\r\n";

    /// One write of the peer, with the pause before it in milliseconds.
    type Write<'a> = (u64, &'a [u8]);

    /// Writes of a peer, whether it half-closes then, whether it is trusted, its preamble, and the time at which that
    /// is known, in milliseconds.
    type Row<'a> = (&'a [Write<'a>], bool, bool, Preamble, u64);

    /// Returns the preamble of a peer, the bytes left, and the time taken in milliseconds. The peer half-closes after
    /// its writes if `ends`, else it stays silent.
    async fn read(writes: &[Write<'_>], ends: bool, trusted: bool) -> (Preamble, BytesMut, u128) {
        let (mut peer, mut server) = duplex(1_024);
        let begin = Instant::now();
        let mut first = BytesMut::new();
        let write = async {
            for (pause_ms, bytes) in writes {
                sleep(Duration::from_millis(*pause_ms)).await;
                peer.write_all(bytes).await.unwrap();
            }
            if ends {
                peer.shutdown().await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let preamble = tokio::select! {
            preamble = read_preamble(&mut server, &mut first, TIMEOUTS, trusted) => preamble,
            () = write => unreachable!(),
        };
        (preamble, first, begin.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn waits_for_a_header_no_longer_than_it_may_come() {
        use CloseReason::{BadHeader, ClientGone, HandshakeTimeout, Unauthorized};
        let rejected = Preamble::Rejected;
        let (trusted, untrusted) = (true, false);
        let rows: &[Row<'_>] = &[
            (&[(0, b"hola\n")], false, trusted, Preamble::Absent, 0),
            (&[], false, trusted, Preamble::Absent, GREET),
            (&[], false, untrusted, Preamble::Absent, GREET),
            (&[], true, trusted, rejected(ClientGone), 0),
            // The beginning of a header is the beginning of an empty line, too.
            (&[(0, b"\r\n")], false, trusted, Preamble::Absent, GREET),
            (&[(0, b"\r\n")], true, trusted, Preamble::Absent, 0),
            (&[(0, b"PROXIMO")], false, trusted, Preamble::Absent, 0),
            (&[(0, b"\r\n\r\n\0")], false, trusted, rejected(HandshakeTimeout), HANDSHAKE),
            (&[(50, b"\r\n"), (40, b"\r\n\0")], false, trusted, rejected(HandshakeTimeout), HANDSHAKE),
            (&[(0, b"\r\n\r\n\0")], false, untrusted, rejected(Unauthorized), 0),
            (&[(0, b"PROXY TCP4 nowhere\r\n")], false, trusted, rejected(BadHeader), 0),
            (&[(0, b"PROXY TCP4 nowhere\r\n")], false, untrusted, rejected(Unauthorized), 0),
            (&[(0, V1)], false, untrusted, rejected(Unauthorized), 0),
        ];
        for (writes, ends, trusted, preamble, at_ms) in rows {
            let (read, left, taken_ms) = read(writes, *ends, *trusted).await;
            assert_eq!((&read, taken_ms), (preamble, u128::from(*at_ms)), "{writes:?}");
            if read == Preamble::Absent {
                let written: Vec<u8> = writes.iter().flat_map(|(_, bytes)| bytes.to_vec()).collect();
                assert_eq!(left, written, "{writes:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn takes_the_header_and_leaves_the_rest() {
        let (begun, rest) = V1.split_at(30);
        let (preamble, left, _) = read(&[(50, begun), (9_000, rest), (0, b"hola")], false, true).await;
        let Preamble::Header(header) = preamble else { panic!("{preamble:?}") };
        assert_eq!(header.source, Some("203.0.113.9:4711".parse().unwrap()));
        assert!(left.is_empty() || left == "hola");
    }

    #[test]
    fn peer_is_the_client_of_the_header() {
        let (socket, now) = ("::ffff:127.0.0.1".parse().unwrap(), Instant::now());
        let header = |source: Option<&str>, face| ProxyHeader {
            source: source.map(|source| source.parse().unwrap()),
            trace: None,
            face,
            closing_line: face.is_some(),
        };
        for (header, trusted, address, late_header) in [
            (None, true, "127.0.0.1", CloseReason::LateHeader),
            (None, false, "127.0.0.1", CloseReason::Unauthorized),
            (Some(header(Some("203.0.113.9:4711"), None)), true, "203.0.113.9", CloseReason::BadHeader),
            (Some(header(None, Some(Face::Frames))), true, "127.0.0.1", CloseReason::BadHeader),
        ] {
            let (face, closing_line) = header.as_ref().map_or((None, false), |it| (it.face, it.closing_line));
            let peer = peer(header, socket, now, trusted);
            assert_eq!(peer.address, address.parse::<IpAddr>().unwrap());
            assert_eq!((peer.late_header, peer.face, peer.closing_line), (late_header, face, closing_line));
        }
    }
}
