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

/// First byte of the closing line (ASCII end of transmission): no other server line has it.
pub const CLOSING_LINE_MARK: u8 = 0x04;

/// Longest header accepted, in bytes: a v2 header with every TLV we know fits many times.
pub const MAX_HEADER_BYTES: usize = 1_024;

/// Longest v1 header, its line ending included, by the PROXY protocol itself.
const MAX_V1_BYTES: usize = 107;

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_PREFIXES: [&[u8]; 3] = [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"];

/// What a proxy says about the connection it forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopHeader {
    /// The person's address; `None` for a proxy's own connection (a health check).
    pub source: Option<SocketAddr>,
    /// The connection's trace.
    pub trace: Option<Traceparent>,
    /// The face, from a gateway; then every line it sends is tagged.
    pub face: Option<Face>,
    /// Whether the sender understands the closing line.
    pub closing_line: bool,
}

impl HopHeader {
    /// Whether a gateway only asks for an answer: it announces a face and speaks for no person.
    pub fn is_check(&self) -> bool {
        self.source.is_none() && self.face.is_some()
    }
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub enum HopParse {
    /// Could still become a header.
    Incomplete {
        /// No ordinary client begins like this: worth waiting for the rest.
        certain: bool,
    },
    /// An ordinary client: no header here.
    Absent,
    /// A header in the first `len` bytes.
    Header {
        /// What it says.
        header: HopHeader,
        /// How many bytes to remove.
        len: usize,
    },
    /// Begins as a header and is not one.
    Invalid,
}

/// Looks for a header at the start of `bytes`.
pub fn parse(bytes: &[u8]) -> HopParse {
    match begins(bytes) {
        Begins::AsNone => HopParse::Absent,
        Begins::AsAny => HopParse::Incomplete { certain: false },
        Begins::AsV1 => parse_v1(bytes),
        Begins::AsV2 => parse_v2(bytes),
    }
}

enum Begins {
    AsV1,
    AsV2,
    AsAny,
    AsNone,
}

fn begins(bytes: &[u8]) -> Begins {
    if V1_PREFIXES.iter().any(|prefix| bytes.starts_with(prefix)) {
        Begins::AsV1
    } else if bytes.starts_with(&V2_SIGNATURE[..5]) {
        // CR and LF alone may be a person's empty lines; the NUL that follows is not.
        Begins::AsV2
    } else if V2_SIGNATURE.starts_with(bytes) || V1_PREFIXES.iter().any(|prefix| prefix.starts_with(bytes)) {
        Begins::AsAny
    } else {
        Begins::AsNone
    }
}

/// The parser takes a header that is cut before its last port for a malformed one, and some
/// malformed ones for cut: it only gets to see whole lines.
fn parse_v1(bytes: &[u8]) -> HopParse {
    let within = bytes.get(..MAX_V1_BYTES).unwrap_or(bytes);
    let Some(end) = memchr(b'\n', within) else {
        return if within.len() < MAX_V1_BYTES { HopParse::Incomplete { certain: true } } else { HopParse::Invalid };
    };
    match v1::Header::try_from(&within[..=end]) {
        Ok(header) => HopParse::Header {
            header: HopHeader { source: v1_source(header.addresses), trace: None, face: None, closing_line: false },
            len: header.header.len(),
        },
        Err(_) => HopParse::Invalid,
    }
}

fn parse_v2(bytes: &[u8]) -> HopParse {
    match v2::Header::try_from(bytes) {
        Ok(header) if header.len() <= MAX_HEADER_BYTES => {
            let len = header.len();
            v2_header(&header).map_or(HopParse::Invalid, |header| HopParse::Header { header, len })
        }
        Err(error) if error.is_incomplete() && bytes.len() < MAX_HEADER_BYTES => HopParse::Incomplete { certain: true },
        Ok(_) | Err(_) => HopParse::Invalid,
    }
}

fn v1_source(addresses: v1::Addresses) -> Option<SocketAddr> {
    match addresses {
        v1::Addresses::Tcp4(a) => Some((a.source_address, a.source_port).into()),
        v1::Addresses::Tcp6(a) => Some((a.source_address, a.source_port).into()),
        v1::Addresses::Unknown => None,
    }
}

/// `None` when one of our own TLVs is malformed.
fn v2_header(header: &v2::Header<'_>) -> Option<HopHeader> {
    let source = match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(a)) => Some((a.source_address, a.source_port).into()),
        (v2::Command::Proxy, v2::Addresses::IPv6(a)) => Some((a.source_address, a.source_port).into()),
        _ => None,
    };
    let mut hop = HopHeader { source, trace: None, face: None, closing_line: false };
    for tlv in header.tlvs() {
        let tlv = tlv.ok()?;
        match tlv.kind {
            TLV_TRACEPARENT => hop.trace = Some(Traceparent::parse(&tlv.value).ok()?),
            TLV_FACE => hop.face = Some(Face::from_name(&tlv.value)?),
            TLV_CLOSING_LINE => hop.closing_line = *tlv.value == *b"1",
            _ => {}
        }
    }
    Some(hop)
}

/// The header a gateway sends: the person at `source`, connected to `destination`.
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

/// The header of a gateway's own connection, which asks whether the core answers and speaks for no person.
pub fn encode_check(trace: Traceparent) -> Vec<u8> {
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
    fn own_header_round_trips_and_is_incomplete_before_its_end() {
        let trace = Traceparent::random();
        for (source, destination, seen) in [
            ("203.0.113.9:4711", "127.0.0.1:8765", "203.0.113.9:4711"),
            ("[2001:db8::1]:4711", "[::1]:8765", "[2001:db8::1]:4711"),
            ("203.0.113.9:4711", "[::1]:8765", "[::ffff:203.0.113.9]:4711"),
        ] {
            let bytes = encode(addr(source), addr(destination), trace, Face::Frames);
            let header = HopHeader {
                source: Some(addr(seen)),
                trace: Some(trace),
                face: Some(Face::Frames),
                closing_line: true,
            };
            let len = bytes.len();
            for cut in 0..len {
                assert_eq!(parse(&bytes[..cut]), HopParse::Incomplete { certain: 5 <= cut }, "cut at {cut}");
            }
            assert_eq!(parse(&[&bytes[..], b"@x"].concat()), HopParse::Header { header, len });
        }
    }

    #[test]
    fn a_check_speaks_for_no_person() {
        let trace = Traceparent::random();
        let bytes = encode_check(trace);
        let header = HopHeader { source: None, trace: Some(trace), face: Some(Face::Frames), closing_line: false };
        assert!(header.is_check());
        assert_eq!(parse(&bytes), HopParse::Header { header, len: bytes.len() });
    }

    #[test]
    fn others() {
        let header = |source: Option<&str>, len| HopParse::Header {
            header: HopHeader { source: source.map(addr), trace: None, face: None, closing_line: false },
            len,
        };
        let local = [V2_SIGNATURE, b"\x20\x00\x00\x00"].concat();
        let cases: &[(&[u8], HopParse)] = &[
            (b"", HopParse::Incomplete { certain: false }),
            (b"\r\n", HopParse::Incomplete { certain: false }),
            (b"PROXY ", HopParse::Incomplete { certain: false }),
            (b"PROXY es un tema", HopParse::Absent),
            (b"hola\n", HopParse::Absent),
            (b"PROXY TCP4 203.0.113.9 127.0.0.1 4711 5001\r\nhola", header(Some("203.0.113.9:4711"), 44)),
            (b"PROXY UNKNOWN\r\n", header(None, 15)),
            (b"PROXY TCP4 nonsense\r\n", HopParse::Invalid),
            (&local, header(None, 16)),
        ];
        for (bytes, want) in cases {
            assert_eq!(&parse(bytes), want, "{bytes:?}");
            // However it is cut, a header is waited for.
            if let HopParse::Header { len, .. } = want {
                for cut in 0..*len {
                    assert!(matches!(parse(&bytes[..cut]), HopParse::Incomplete { .. }), "{bytes:?} cut at {cut}");
                }
            }
        }
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; MAX_HEADER_BYTES]].concat();
        assert_eq!(parse(&endless), HopParse::Invalid);
    }

    #[test]
    fn a_header_may_be_as_long_as_the_limit() {
        let header = |len: usize| {
            let rest = u16::try_from(len - 16).unwrap().to_be_bytes();
            [V2_SIGNATURE, b"\x20\x00", &rest, &vec![0; len - 16]].concat()
        };
        let none = HopHeader { source: None, trace: None, face: None, closing_line: false };
        let longest = header(MAX_HEADER_BYTES);
        assert_eq!(parse(&longest), HopParse::Header { header: none, len: MAX_HEADER_BYTES });
        assert_eq!(parse(&longest[..MAX_HEADER_BYTES - 1]), HopParse::Incomplete { certain: true });
        // Whole or in pieces.
        let too_long = header(MAX_HEADER_BYTES + 1);
        assert_eq!(parse(&too_long), HopParse::Invalid);
        assert_eq!(parse(&too_long[..MAX_HEADER_BYTES]), HopParse::Invalid);
    }

    #[test]
    fn only_1_announces_the_closing_line() {
        for (value, want) in [(b"1".as_slice(), true), (b"0", false), (b"", false), (b"11", false)] {
            let len = u8::try_from(12 + 3 + value.len()).unwrap();
            let address = [1, 1, 1, 1, 2, 2, 2, 2, 0, 1, 0, 2];
            let tlv = [TLV_CLOSING_LINE, 0, u8::try_from(value.len()).unwrap()];
            let bytes = [V2_SIGNATURE, b"\x21\x11\x00", &[len], &address, &tlv, value].concat();
            let HopParse::Header { header, .. } = parse(&bytes) else { panic!("{value:?}: no header") };
            assert_eq!(header.closing_line, want, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), signed: bool) {
            if signed {
                bytes.splice(0..0, V2_SIGNATURE.iter().copied());
            }
            if let HopParse::Header { len, .. } = parse(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
