//! Policy on the origins that may open a WebSocket.

use std::fmt;

use hyper::header::{HOST, HeaderMap, HeaderName, ORIGIN};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Origins that may connect. Requests without `Origin` come from no browser and are always allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OriginPolicy {
    /// The host of the request.
    #[default]
    SameHost,
    /// The listed origins.
    Listed(Vec<Origin>),
    /// Any origin.
    Any,
}

/// Scheme, host and port in lower case, without the scheme's default port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    authority: String,
}

/// Returns the host names of a request; `X-Forwarded-Host` counts if `peer_trusted`.
pub(crate) fn hosts(headers: &HeaderMap, peer_trusted: bool) -> Vec<&str> {
    let forwarded = headers.get(X_FORWARDED_HOST).filter(|_| peer_trusted).and_then(|value| value.to_str().ok());
    // Proxies append: the last entry is the nearest one's.
    let forwarded = forwarded.and_then(|hosts| hosts.rsplit(',').next()).map(str::trim);
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    host.into_iter().chain(forwarded).collect()
}

impl OriginPolicy {
    /// Returns true if the request's origin is allowed, or if it has none.
    pub(crate) fn admits(&self, headers: &HeaderMap, peer_trusted: bool) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        let (origin, more) = (origins.next(), origins.next());
        let Some(origin) = origin else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        more.is_none() && self.allows(origin, &hosts(headers, peer_trusted))
    }

    /// Parses a list such as `https://example.org,http://localhost:3000`, or `*`; an empty list means the same host.
    ///
    /// # Errors
    ///
    /// Names the entry that is no origin.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries: Vec<&str> = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
        if entries.is_empty() {
            return Ok(Self::SameHost);
        }
        if entries.contains(&"*") {
            return Ok(Self::Any);
        }
        let read = |entry: &&str| {
            let bare = entry.strip_suffix('/').unwrap_or(entry);
            Origin::parse(bare).ok_or_else(|| format!("{entry:?} is not an origin such as https://example.org"))
        };
        entries.iter().map(read).collect::<Result<_, _>>().map(Self::Listed)
    }

    /// Returns true if a page of `origin` may connect to one of `hosts`, the host names of the request.
    pub(crate) fn allows(&self, origin: &str, hosts: &[&str]) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(origins) => Origin::parse(origin).is_some_and(|origin| origins.contains(&origin)),
            Self::SameHost => Origin::parse(origin).is_some_and(|origin| {
                hosts
                    .iter()
                    .any(|host| origin.authority == without_own_port(&origin.scheme, &host.to_ascii_lowercase()))
            }),
        }
    }
}

impl Origin {
    /// Returns `None` for `null` and for anything but an origin.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
        let misplaced = |byte: u8| byte.is_ascii_whitespace() || b"/?#@,*".contains(&byte);
        if scheme.is_empty() || authority.is_empty() || authority.bytes().any(misplaced) {
            return None;
        }
        let authority = without_own_port(&scheme, &authority).to_owned();
        Some(Self { scheme, authority })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

fn without_own_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return authority,
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_origins() {
        let cases: &[(&str, &str, &[&str], bool)] = &[
            ("", "https://example.org", &["example.org"], true),
            ("", "https://Example.org", &["example.ORG:443"], true),
            ("", "http://localhost:8765", &["localhost:8765"], true),
            ("", "http://[::1]:8765", &["[::1]:8765"], true),
            ("", "http://localhost:8765", &["localhost:9999"], false),
            ("", "https://evil.example", &["example.org"], false),
            ("", "https://example.org.evil.example", &["example.org"], false),
            ("", "https://example.org", &["10.0.0.7:8765", "example.org"], true), // The proxy's X-Forwarded-Host.
            ("", "https://example.org", &[], false),
            ("", "null", &["null"], false),
            ("", "https://example.org/path", &["example.org"], false),
            ("", "https://user@example.org", &["example.org"], false),
            ("https://example.org", "https://example.org", &["other"], true),
            ("https://example.org/", "https://EXAMPLE.org:443", &["other"], true),
            ("https://example.org", "http://example.org", &["example.org"], false),
            ("https://a.org, http://b.org:81", "http://b.org:81", &[], true),
            ("https://a.org", "https://b.org", &["b.org"], false),
            ("https://a.org", "null", &[], false),
            ("*", "https://b.org", &[], true),
            ("*", "null", &[], true),
        ];
        for (allowed, origin, hosts, want) in cases {
            let policy = OriginPolicy::parse(allowed).unwrap();
            assert_eq!(policy.allows(origin, hosts), *want, "{allowed:?}: {origin} at {hosts:?}");
        }
    }

    #[test]
    fn rejects_invalid_lists() {
        for text in ["example.org", "https://", "https://a.org/chat", "https://a.org,,b", "https://*.a.org"] {
            assert!(OriginPolicy::parse(text).is_err(), "{text}");
        }
    }
}
