//! Rate-limit keys of client addresses.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An IPv4 address or an IPv6 /64 network. ISPs assign at least a /64 per subscriber, so single IPv6 addresses would
/// evade any limit.
///
/// ```
/// use limits::ClientSubnet;
///
/// let of = |address: &str| ClientSubnet::of(address.parse().unwrap());
/// assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
/// assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
/// assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientSubnet(IpAddr);

impl ClientSubnet {
    /// Returns the subnet of `address`. IPv4-mapped IPv6 counts as IPv4.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        })
    }
}

/// An IPv6 /48 network, the usual assignment of an end site (RFC 6177): 65,536 [`ClientSubnet`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EndSite(Ipv6Addr);

impl ClientSubnet {
    /// Returns the end site of the subnet; `None` for IPv4.
    pub fn end_site(self) -> Option<EndSite> {
        match self.0 {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(EndSite(Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> 48)))),
        }
    }
}

impl fmt::Display for ClientSubnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites() {
        let site = |text: &str| ClientSubnet::of(text.parse().unwrap()).end_site();
        assert_eq!(site("2001:db8:1:2::3"), site("2001:db8:1:ffff::1"));
        assert_ne!(site("2001:db8:1:2::3"), site("2001:db8:2:2::3"));
        assert_eq!((site("203.0.113.9"), site("::ffff:203.0.113.9")), (None, None));
    }

    #[test]
    fn ipv6_keyed_by_64() {
        let cases = [
            ("203.0.113.9", "203.0.113.9", true),
            ("203.0.113.9", "203.0.113.8", false),
            ("203.0.113.9", "::ffff:203.0.113.9", true),
            ("::ffff:203.0.113.9", "::ffff:203.0.113.8", false),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ];
        for (one, other, want) in cases {
            let of = |text: &str| ClientSubnet::of(text.parse().unwrap());
            assert_eq!(of(one) == of(other), want, "{one} and {other}");
        }
    }
}
