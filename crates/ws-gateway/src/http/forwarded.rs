//! Client address behind trusted proxies (`X-Forwarded-For`).

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::HeaderName;
use limits::TrustedProxies;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Returns the client's address: `peer`, or the forwarded one if `peer` is trusted.
///
/// In a chain of proxies the rightmost untrusted address counts: anything left of it may be forged. IPv4-mapped IPv6
/// becomes IPv4. An unknown port is 0.
pub(crate) fn client_address(peer: SocketAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> SocketAddr {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    if !trusted.contains(peer.ip()) {
        return peer;
    }
    let values: Vec<&str> =
        headers.get_all(X_FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    let mut client = peer;
    for entry in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        // An unreadable entry ends the chain: entries left of it may be forged.
        let Some(address) = forwarded(entry.trim()) else { break };
        client = address;
        if !trusted.contains(client.ip()) {
            break;
        }
    }
    client
}

/// Returns true if a proxy in front ended TLS (`X-Forwarded-Proto`); the peer must be trusted.
pub(super) fn came_over_tls(headers: &HeaderMap) -> bool {
    headers.get(X_FORWARDED_PROTO).is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// Parses `203.0.113.9` or `2001:db8::1`, with or without a port, IPv6 in brackets or not.
fn forwarded(entry: &str) -> Option<SocketAddr> {
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0)).or_else(|_| entry.parse()).ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_rightmost_untrusted_address() {
        let trusted = TrustedProxies::parse("127.0.0.0/8, ::1,10.0.0.0/8").unwrap();
        let cases: &[(&str, &[&str], &str)] = &[
            ("203.0.113.9:4711", &[], "203.0.113.9:4711"),
            ("203.0.113.9:4711", &["198.51.100.7"], "203.0.113.9:4711"), // Not trusted: not believed.
            ("[::ffff:203.0.113.9]:4711", &[], "203.0.113.9:4711"),
            ("127.0.0.1:4711", &[], "127.0.0.1:4711"),
            ("127.0.0.1:4711", &["198.51.100.7"], "198.51.100.7:0"),
            ("[::ffff:127.0.0.1]:4711", &["198.51.100.7"], "198.51.100.7:0"),
            ("[::1]:4711", &["2001:db8::1"], "[2001:db8::1]:0"),
            ("127.0.0.1:4711", &["[2001:db8::1]:99"], "[2001:db8::1]:99"),
            ("127.0.0.1:4711", &["198.51.100.7:99"], "198.51.100.7:99"),
            ("127.0.0.1:4711", &["::ffff:198.51.100.7"], "198.51.100.7:0"),
            ("127.0.0.1:4711", &["6.6.6.6, 198.51.100.7"], "198.51.100.7:0"),
            ("127.0.0.1:4711", &["6.6.6.6, 198.51.100.7 , 10.1.2.3"], "198.51.100.7:0"),
            ("127.0.0.1:4711", &["6.6.6.6", "198.51.100.7", "10.1.2.3"], "198.51.100.7:0"),
            ("127.0.0.1:4711", &["10.1.2.3"], "10.1.2.3:0"), // A person inside the trusted network.
            ("127.0.0.1:4711", &["6.6.6.6, unknown, 10.1.2.3"], "10.1.2.3:0"),
            ("127.0.0.1:4711", &["nonsense"], "127.0.0.1:4711"),
            ("127.0.0.1:4711", &[""], "127.0.0.1:4711"),
        ];
        for (peer, forwarded, want) in cases {
            let mut headers = HeaderMap::new();
            for value in *forwarded {
                headers.append(X_FORWARDED_FOR, value.parse().unwrap());
            }
            let got = client_address(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(got, want.parse().unwrap(), "{peer} with {forwarded:?}");
        }
    }
}
