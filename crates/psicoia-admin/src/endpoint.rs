//! Addresses of admin ports.

use std::fmt;
use std::str::FromStr;

use tokio::net::lookup_host;

/// Host and port of an admin port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint(String);

/// The text is no `host:port`.
#[derive(Debug, thiserror::Error)]
#[error("an admin port is host:port, such as 127.0.0.1:9101 or [::1]:9101")]
pub(crate) struct EndpointError;

impl Endpoint {
    /// URL of `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0)
    }

    /// Resolves the name: one endpoint for each address. A name that does not resolve stays, and is reported as
    /// unreachable.
    async fn resolve(&self) -> Vec<Self> {
        let found = lookup_host(&self.0).await.map(|found| found.map(|it| Self(it.to_string())).collect());
        found.ok().filter(|found: &Vec<_>| !found.is_empty()).unwrap_or_else(|| vec![self.clone()])
    }
}

/// Resolves `endpoints`, each address once, in order.
pub(crate) async fn resolve_all(endpoints: &[Endpoint]) -> Vec<Endpoint> {
    let mut resolved = Vec::new();
    for endpoint in endpoints {
        for found in endpoint.resolve().await {
            if !resolved.contains(&found) {
                resolved.push(found);
            }
        }
    }
    resolved
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (host, port) = text.rsplit_once(':').ok_or(EndpointError)?;
        let is_valid = !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| 0 < port);
        is_valid.then(|| Self(text.to_owned())).ok_or(EndpointError)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_host_and_port() {
        for (text, is_valid) in [
            ("127.0.0.1:9101", true),
            ("core:9101", true),
            ("[::1]:9101", true),
            ("core", false),
            (":9101", false),
            ("core:0", false),
            ("http://core:9101", false),
        ] {
            assert_eq!(text.parse::<Endpoint>().is_ok(), is_valid, "{text}");
        }
    }

    #[tokio::test]
    async fn resolves_each_address_once() {
        let endpoints = ["127.0.0.1:9101", "127.0.0.1:9101", "[::1]:9102"].map(|it| it.parse().unwrap());
        let resolved: Vec<_> = resolve_all(&endpoints).await.iter().map(Endpoint::to_string).collect();
        assert_eq!(resolved, ["127.0.0.1:9101", "[::1]:9102"]);
    }
}
