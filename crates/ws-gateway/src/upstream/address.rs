//! Core addresses of the configuration.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// One entry of `TCP_HOST`. A name with several addresses stands for several cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreAddress {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// All entries of `TCP_HOST`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoreAddresses(pub Vec<CoreAddress>);

impl CoreAddresses {
    /// Parses a list such as `core-1, core-2:5002, 10.0.0.7, [2001:db8::1]:5003`. `port` is the default; an IPv6
    /// address with a port needs brackets.
    ///
    /// # Errors
    ///
    /// Names the entry that is no core.
    pub fn parse(text: &str, port: u16) -> Result<Self, String> {
        text.split(',').map(|entry| core(entry.trim(), port)).collect::<Result<_, _>>().map(Self)
    }
}

fn core(entry: &str, port: u16) -> Result<CoreAddress, String> {
    let known = split(entry, port).filter(|(host, _)| looks_like_host(host));
    let (host, port) = known.ok_or_else(|| format!("{entry:?} is neither an address nor a host name"))?;
    let port = port.ok_or_else(|| format!("the port of {entry:?} is not a number from 1 to 65535"))?;
    Ok(CoreAddress { host: host.to_owned(), port })
}

/// Splits host and port; the port is `None` if it is invalid, the result is `None` if there is no host.
fn split(entry: &str, default: u16) -> Option<(&str, Option<u16>)> {
    let (host, port) = match entry.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        // More than one colon: a bare IPv6 address.
        None => match entry.split_once(':') {
            Some((host, port)) if !port.contains(':') => {
                // Not just a bad number: probably a URL.
                port.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some((host, Some(port)))?
            }
            _ => (entry, None),
        },
    };
    Some((host, port.map_or(Some(default), |port| port.parse().ok().filter(|&port| port != 0))))
}

/// Returns true if `host` has the syntax of an address or host name.
pub(crate) fn looks_like_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte))
}

impl CoreAddress {
    /// Returns the address if the host is an IP address.
    pub(crate) fn literal(&self) -> Option<SocketAddr> {
        self.host.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for CoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for CoreAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, core) in self.0.iter().enumerate() {
            write!(f, "{}{core}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let cases = [
            ("127.0.0.1", "127.0.0.1:5001"),
            ("core", "core:5001"),
            (" core-1 ,core_2:5002", "core-1:5001,core_2:5002"),
            ("::1", "[::1]:5001"),
            ("[::1]", "[::1]:5001"),
            ("[2001:db8::1]:5003,10.0.0.7:1", "[2001:db8::1]:5003,10.0.0.7:1"),
            ("::1:5003", "[::1:5003]:5001"), // Without brackets all of it is the address.
            ("fe80::1%eth0", "[fe80::1%eth0]:5001"),
        ];
        for (text, want) in cases {
            let got = CoreAddresses::parse(text, 5001).unwrap();
            assert_eq!(got.to_string(), want, "{text}");
            assert_eq!(CoreAddresses::parse(want, 1), Ok(got), "{want}");
        }
    }

    #[test]
    fn rejects_invalid_entries() {
        let neither = |entry: &str| format!("{entry:?} is neither an address nor a host name");
        let port = |entry: &str| format!("the port of {entry:?} is not a number from 1 to 65535");
        let cases = [
            ("", neither("")),
            ("a,,b", neither("")),
            ("a,", neither("")),
            ("a b", neither("a b")),
            ("http://core", neither("http://core")),
            (":5001", neither(":5001")),
            ("[::1", neither("[::1")),
            ("[::1]5001", neither("[::1]5001")),
            ("a,core:", port("core:")),
            ("core:0", port("core:0")),
            ("core:65536", port("core:65536")),
            ("core:x", port("core:x")),
            ("[::1]:", port("[::1]:")),
        ];
        for (text, want) in cases {
            assert_eq!(CoreAddresses::parse(text, 5001), Err(want), "{text:?}");
        }
    }
}
