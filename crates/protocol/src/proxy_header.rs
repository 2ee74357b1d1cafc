//! The PROXY protocol header between a gateway (or any balancer) and the core
//! (`proto-line/SPEC.md` §6, §8).

use std::net::{IpAddr, SocketAddr};

use memchr::memchr;
use ppp::{PartialResult as _, v1, v2};

use crate::face::Face;
use crate::trace::Traceparent;

/// TLV with the connection's `traceparent`, ASCII.
const TLV_TRACEPARENT: u8 = 0xE0;
/// TLV with the face; its presence announces tagged lines.
const TLV_FACE: u8 = 0xE1;
/// TLV of a sender that understands the closing line.
const TLV_CLOSING_LINE: u8 = 0xE2;

/// First byte of the closing line (ASCII EOT): no other server line begins with it.
pub const CLOSING_LINE_MARK: u8 = 0x04;

/// Longest header accepted, in bytes: several times a v2 header with every known TLV.
pub const MAX_HEADER_BYTES: usize = 1_024;

/// Longest v1 header, its line ending included, by the PROXY protocol itself.
const MAX_V1_BYTES: usize = 107;

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_PREFIXES: [&[u8]; 3] = [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];

/// PROXY protocol header of a forwarded connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Address of the person's client; `None` for a proxy's own connection (a health check).
    pub source: Option<SocketAddr>,
    /// The connection's trace.
    pub trace: Option<Traceparent>,
    /// The face, from a gateway only; every line behind such a header is tagged.
    pub face: Option<Face>,
    /// The sender understands the closing line.
    pub closing_line: bool,
}

impl ProxyHeader {
    /// Returns `true` for the health check of a gateway: it announces a face and has no source address.
    pub fn is_health_check(&self) -> bool {
        self.source.is_none() && self.face.is_some()
    }
}

/// Result of the search for a header in the first bytes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum ProxyHeaderParse {
    /// Could still become a header.
    Incomplete {
        /// No other client begins like this, so the caller waits for the rest longer.
        unambiguous: bool,
    },
    /// No header: another kind of client.
    Absent,
    /// A header in the first `len` bytes.
    Header {
        /// The header.
        header: ProxyHeader,
        /// Its length in bytes.
        len: usize,
    },
    /// Begins as a header and is not one.
    Invalid,
}

/// Parses the header at the start of `bytes`.
///
/// ```
/// use protocol::Face;
/// use protocol::proxy_header::{self, ProxyHeaderParse};
/// use protocol::trace::Traceparent;
///
/// let (person, core) = ("203.0.113.9:4711".parse().unwrap(), "192.0.2.1:5001".parse().unwrap());
/// let bytes = proxy_header::encode(person, core, Traceparent::random(), Face::Frames);
/// let ProxyHeaderParse::Header { header, len } = proxy_header::parse(&bytes) else { panic!("no header") };
/// assert_eq!((header.source, header.face, len), (Some(person), Some(Face::Frames), bytes.len()));
///
/// assert_eq!(proxy_header::parse(b"hola\n"), ProxyHeaderParse::Absent);
/// assert_eq!(proxy_header::parse(&bytes[..20]), ProxyHeaderParse::Incomplete { unambiguous: true });
/// ```
pub fn parse(bytes: &[u8]) -> ProxyHeaderParse {
    match prefix(bytes) {
        Prefix::NoHeader => ProxyHeaderParse::Absent,
        Prefix::Ambiguous => ProxyHeaderParse::Incomplete { unambiguous: false },
        Prefix::V1 => parse_v1(bytes),
        Prefix::V2 => parse_v2(bytes),
    }
}

enum Prefix {
    V1,
    V2,
    Ambiguous,
    NoHeader,
}

fn prefix(bytes: &[u8]) -> Prefix {
    if V1_PREFIXES.iter().any(|prefix| bytes.starts_with(prefix)) {
        Prefix::V1
    } else if bytes.starts_with(&V2_SIGNATURE[..5]) {
        // CR and LF alone may be a person's empty lines; the NUL that follows is not.
        Prefix::V2
    } else if V2_SIGNATURE.starts_with(bytes) || V1_PREFIXES.iter().any(|prefix| prefix.starts_with(bytes)) {
        Prefix::Ambiguous
    } else {
        Prefix::NoHeader
    }
}

/// Parses a v1 header. The `ppp` parser takes a header cut before its last port for a malformed one, and some malformed
/// ones for cut, so it gets whole lines only.
fn parse_v1(bytes: &[u8]) -> ProxyHeaderParse {
    let within = bytes.get(..MAX_V1_BYTES).unwrap_or(bytes);
    let Some(end) = memchr(b'\n', within) else {
        return if within.len() < MAX_V1_BYTES {
            ProxyHeaderParse::Incomplete { unambiguous: true }
        } else {
            ProxyHeaderParse::Invalid
        };
    };
    match v1::Header::try_from(&within[..=end]) {
        Ok(header) => ProxyHeaderParse::Header {
            header: ProxyHeader { source: v1_source(header.addresses), trace: None, face: None, closing_line: false },
            len: header.header.len(),
        },
        Err(_) => ProxyHeaderParse::Invalid,
    }
}

fn parse_v2(bytes: &[u8]) -> ProxyHeaderParse {
    match v2::Header::try_from(bytes) {
        Ok(header) if header.len() <= MAX_HEADER_BYTES => {
            let len = header.len();
            v2_header(&header).map_or(ProxyHeaderParse::Invalid, |header| ProxyHeaderParse::Header { header, len })
        }
        Err(error) if error.is_incomplete() && bytes.len() < MAX_HEADER_BYTES => {
            ProxyHeaderParse::Incomplete { unambiguous: true }
        }
        // A longer header must not make the reader buffer without a bound.
        Ok(_) | Err(_) => ProxyHeaderParse::Invalid,
    }
}

fn v1_source(addresses: v1::Addresses) -> Option<SocketAddr> {
    match addresses {
        v1::Addresses::Tcp4(a) => Some((a.source_address, a.source_port).into()),
        v1::Addresses::Tcp6(a) => Some((a.source_address, a.source_port).into()),
        v1::Addresses::Unknown => None,
    }
}

/// Converts a v2 header; `None` if one of the TLVs `0xE0` and `0xE1` is malformed.
fn v2_header(header: &v2::Header<'_>) -> Option<ProxyHeader> {
    let source = match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(a)) => Some((a.source_address, a.source_port).into()),
        (v2::Command::Proxy, v2::Addresses::IPv6(a)) => Some((a.source_address, a.source_port).into()),
        _ => None,
    };
    let mut parsed = ProxyHeader { source, trace: None, face: None, closing_line: false };
    for tlv in header.tlvs() {
        let tlv = tlv.ok()?;
        match tlv.kind {
            TLV_TRACEPARENT => parsed.trace = Some(Traceparent::parse(&tlv.value).ok()?),
            TLV_FACE => parsed.face = Some(Face::from_name(&tlv.value)?),
            TLV_CLOSING_LINE => parsed.closing_line = *tlv.value == *b"1",
            _ => {}
        }
    }
    Some(parsed)
}

/// Encodes a gateway's header for the client at `source`, connected to `destination`.
///
/// An IPv4 and an IPv6 address cannot share a header, so a mixed pair is written as IPv6.
pub fn encode(source: SocketAddr, destination: SocketAddr, trace: Traceparent, face: Face) -> Vec<u8> {
    let (source, destination) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => (mapped(source), mapped(destination)),
        _ => (source, destination),
    };
    let build = || {
        v2::Builder::with_addresses(v2::Version::Two | v2::Command::Proxy, v2::Protocol::Stream, (source, destination))
            .write_tlv(TLV_TRACEPARENT, &trace.encode())?
            .write_tlv(TLV_FACE, face.name().as_bytes())?
            .write_tlv(TLV_CLOSING_LINE, b"1")?
            .build()
    };
    build().expect("three short TLVs fit the header's 16-bit length")
}

/// Encodes the header of a gateway's health check: command LOCAL, without a client.
pub fn encode_health_check(trace: Traceparent) -> Vec<u8> {
    // A header of no address family would end before its TLVs.
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let build = || {
        v2::Builder::with_addresses(v2::Version::Two | v2::Command::Local, v2::Protocol::Stream, (nowhere, nowhere))
            .write_tlv(TLV_TRACEPARENT, &trace.encode())?
            .write_tlv(TLV_FACE, Face::Frames.name().as_bytes())?
            .build()
    };
    build().expect("two short TLVs fit the header's 16-bit length")
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => (ip.to_ipv6_mapped(), address.port()).into(),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn own_header_round_trips_and_every_prefix_is_incomplete() {
        let trace = Traceparent::random();
        for (source, destination, seen) in [
            ("203.0.113.9:4711", "127.0.0.1:8765", "203.0.113.9:4711"),
            ("[2001:db8::1]:4711", "[::1]:8765", "[2001:db8::1]:4711"),
            ("203.0.113.9:4711", "[::1]:8765", "[::ffff:203.0.113.9]:4711"),
        ] {
            let bytes = encode(addr(source), addr(destination), trace, Face::Frames);
            let header = ProxyHeader {
                source: Some(addr(seen)),
                trace: Some(trace),
                face: Some(Face::Frames),
                closing_line: true,
            };
            let len = bytes.len();
            for cut in 0..len {
                assert_eq!(
                    parse(&bytes[..cut]),
                    ProxyHeaderParse::Incomplete { unambiguous: 5 <= cut },
                    "cut at {cut}"
                );
            }
            assert_eq!(parse(&[&bytes[..], b"@x"].concat()), ProxyHeaderParse::Header { header, len });
        }
    }

    #[test]
    fn health_check_has_no_source() {
        let trace = Traceparent::random();
        let bytes = encode_health_check(trace);
        let header = ProxyHeader { source: None, trace: Some(trace), face: Some(Face::Frames), closing_line: false };
        assert!(header.is_health_check());
        assert_eq!(parse(&bytes), ProxyHeaderParse::Header { header, len: bytes.len() });
    }

    #[test]
    fn parses_headers_of_other_proxies() {
        let header = |source: Option<&str>, len| ProxyHeaderParse::Header {
            header: ProxyHeader { source: source.map(addr), trace: None, face: None, closing_line: false },
            len,
        };
        let local = [V2_SIGNATURE, b"\x20\x00\x00\x00"].concat();
        let cases: &[(&[u8], ProxyHeaderParse)] = &[
            (b"", ProxyHeaderParse::Incomplete { unambiguous: false }),
            (b"\r\n", ProxyHeaderParse::Incomplete { unambiguous: false }),
            (b"PROXY ", ProxyHeaderParse::Incomplete { unambiguous: false }),
            (b"PROXY es un tema", ProxyHeaderParse::Absent),
            (b"hola\n", ProxyHeaderParse::Absent),
            (b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 5001\r\nhola", header(Some("203.0.113.9:4711"), 44)),
            (b"PROXY UNKNOWN\r\n", header(None, 15)),
            (b"PROXY TCP4 nonsense\r\n", ProxyHeaderParse::Invalid),
            (&local, header(None, 16)),
        ];
        for (bytes, want) in cases {
            assert_eq!(&parse(bytes), want, "{bytes:?}");
            // Every prefix of a header is incomplete, never absent or invalid.
            if let ProxyHeaderParse::Header { len, .. } = want {
                for cut in 0..*len {
                    assert!(
                        matches!(parse(&bytes[..cut]), ProxyHeaderParse::Incomplete { .. }),
                        "{bytes:?} cut at {cut}"
                    );
                }
            }
        }
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; MAX_HEADER_BYTES]].concat();
        assert_eq!(parse(&endless), ProxyHeaderParse::Invalid);
    }

    #[test]
    fn accepts_headers_up_to_the_limit() {
        let header = |len: usize| {
            let rest = u16::try_from(len - 16).unwrap().to_be_bytes();
            [V2_SIGNATURE, b"\x20\x00", &rest, &vec![0; len - 16]].concat()
        };
        let none = ProxyHeader { source: None, trace: None, face: None, closing_line: false };
        let longest = header(MAX_HEADER_BYTES);
        assert_eq!(parse(&longest), ProxyHeaderParse::Header { header: none, len: MAX_HEADER_BYTES });
        assert_eq!(parse(&longest[..MAX_HEADER_BYTES - 1]), ProxyHeaderParse::Incomplete { unambiguous: true });
        // In one piece or in two.
        let too_long = header(MAX_HEADER_BYTES + 1);
        assert_eq!(parse(&too_long), ProxyHeaderParse::Invalid);
        assert_eq!(parse(&too_long[..MAX_HEADER_BYTES]), ProxyHeaderParse::Invalid);
    }

    #[test]
    fn only_value_1_announces_closing_line() {
        for (value, want) in [(b"1".as_slice(), true), (b"0", false), (b"", false), (b"11", false)] {
            let len = u8::try_from(12 + 3 + value.len()).unwrap();
            let address = [1, 1, 1, 1, 2, 2, 2, 2, 0, 1, 0, 2];
            let tlv = [TLV_CLOSING_LINE, 0, u8::try_from(value.len()).unwrap()];
            let bytes = [V2_SIGNATURE, b"\x21\x11\x00", &[len], &address, &tlv, value].concat();
            let ProxyHeaderParse::Header { header, .. } = parse(&bytes) else { panic!("{value:?}: no header") };
            assert_eq!(header.closing_line, want, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn header_length_never_exceeds_input(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), signed: bool) {
            if signed {
                bytes.splice(0..0, V2_SIGNATURE.iter().copied());
            }
            if let ProxyHeaderParse::Header { len, .. } = parse(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
