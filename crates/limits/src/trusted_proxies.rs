//! Proxies whose forwarded client address is trusted.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks of `TRUSTED_PROXIES`.
///
/// ```
/// use limits::TrustedProxies;
///
/// let trusted = TrustedProxies::parse("10.0.0.0/8, ::1").unwrap();
/// assert!(trusted.contains("10.1.2.3".parse().unwrap()));
/// assert!(!trusted.contains("192.0.2.1".parse().unwrap()));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Parses a list such as `127.0.0.0/8,::1`; an empty list trusts no proxy.
    ///
    /// # Errors
    ///
    /// Names the entry that is no network.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(network).collect::<Result<_, _>>().map(Self)
    }

    /// Returns true if `address` is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn network(entry: &str) -> Result<IpNet, String> {
    let network = entry.parse().ok().or_else(|| entry.parse().map(IpAddr::into).ok());
    network.ok_or_else(|| format!("{entry:?} is neither a network such as 10.0.0.0/8 nor an address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_addresses() {
        let trusted = TrustedProxies::parse("127.0.0.0/8, ::1,10.1.2.3").unwrap();
        for (address, want) in
            [("127.9.9.9", true), ("::1", true), ("::ffff:127.0.0.1", true), ("10.1.2.3", true), ("10.1.2.4", false)]
        {
            assert_eq!(trusted.contains(address.parse().unwrap()), want, "{address}");
        }
        assert!(!TrustedProxies::parse("").unwrap().contains(IpAddr::from([127, 0, 0, 1])));
        assert!(TrustedProxies::parse("localhost").unwrap_err().starts_with("\"localhost\" is neither"));
    }
}
