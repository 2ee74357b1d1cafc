//! Server addresses.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// Default port of a core.
const CORE_PORT: u16 = 5001;

/// Address of a core or a gateway.
///
/// ```
/// use client::Address;
///
/// let address: Address = "core.example".parse().unwrap();
/// assert_eq!(address.authority(), "core.example:5001");
/// assert!("wss://chat.example/ws".parse::<Address>().is_ok());
/// assert!("ftp://core.example".parse::<Address>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    url: Url,
    host: Host,
    port: u16,
    transport: Transport,
}

/// Protocol below the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Newline-delimited frames over TCP or TLS, to a core.
    Lines,
    /// One WebSocket message per frame, to a gateway.
    WebSocket,
}

/// The text is not a server address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an address is host:port or tls://host:port of a core, ws://host:port/ws or wss://host/ws of a gateway (where its page is at http://host:port/), without a user or password"
)]
pub struct AddressError;

impl Address {
    /// Host and port in URL notation.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Host without brackets, the form for resolvers and certificates.
    pub(crate) fn host(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    pub(crate) fn has_tls(&self) -> bool {
        matches!(self.url.scheme(), "tls" | "wss")
    }

    pub(crate) fn url(&self) -> &str {
        self.url.as_str()
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        // `localhost:5001` would have the scheme `localhost`.
        let text = if text.contains("://") { text.to_owned() } else { format!("tcp://{text}") };
        let mut url = Url::parse(&text).map_err(|_| AddressError)?;
        let (transport, default_port) = match url.scheme() {
            "tcp" | "tls" => (Transport::Lines, CORE_PORT),
            "ws" => (Transport::WebSocket, 80),
            "wss" => (Transport::WebSocket, 443),
            _ => return Err(AddressError),
        };
        url.set_fragment(None);
        let bare = url.username().is_empty() && url.password().is_none();
        let pathless = matches!(url.path(), "" | "/") && url.query().is_none();
        // `url` validates hosts of web schemes only.
        let host = Host::parse(url.host_str().unwrap_or_default()).map_err(|_| AddressError)?;
        if !bare || (transport == Transport::Lines && !pathless) {
            return Err(AddressError);
        }
        let port = url.port().unwrap_or(default_port);
        Ok(Self { url, host, port, transport })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_addresses_and_rejects_others() {
        for (text, want) in [
            ("tcp://127.0.0.1:5001", Some(("127.0.0.1", 5001, Transport::Lines, false))),
            ("tcp://core", Some(("core", 5001, Transport::Lines, false))),
            ("tls://core.example:6000", Some(("core.example", 6000, Transport::Lines, true))),
            ("tcp://[::1]:5001", Some(("::1", 5001, Transport::Lines, false))),
            ("ws://gateway:8765/ws", Some(("gateway", 8765, Transport::WebSocket, false))),
            ("wss://psicoia.example/ws", Some(("psicoia.example", 443, Transport::WebSocket, true))),
            ("ws://[::1]:8765", Some(("::1", 8765, Transport::WebSocket, false))),
            ("127.0.0.1:5001", Some(("127.0.0.1", 5001, Transport::Lines, false))),
            ("localhost:6000", Some(("localhost", 6000, Transport::Lines, false))),
            ("core.example", Some(("core.example", 5001, Transport::Lines, false))),
            ("[::1]:6000", Some(("::1", 6000, Transport::Lines, false))),
            ("me@x:1", None),
            ("x:1/ws", None),
            ("x:port", None),
            ("::1", None),
            ("a b", None),
            ("http://x:1", None),
            ("tcp://", None),
            ("tcp://x:1/path", None),
            ("tcp://me:secret@x:1", None),
            ("ws://me@x:1/ws", None),
            ("ws://x:99999/ws", None),
            ("", None),
        ] {
            let got = text.parse::<Address>().ok();
            let got = got.as_ref().map(|it| (it.host(), it.port(), it.transport(), it.has_tls()));
            let want = want.map(|(host, port, transport, tls)| (host.to_owned(), port, transport, tls));
            assert_eq!(got, want, "{text}");
        }
        assert_eq!("tcp://[::1]:5001".parse::<Address>().unwrap().authority(), "[::1]:5001");
    }
}
