//! Where a server is.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// Port of a core, where an address names none.
const CORE_PORT: u16 = 5001;

/// The address of a core or of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    url: Url,
    host: Host,
    port: u16,
    kind: Kind,
}

/// What is spoken there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Lines, straight to a core.
    Lines,
    /// One WebSocket message for a line, to a gateway.
    WebSocket,
}

/// The text is no address of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an address is host:port or tls://host:port of a core, ws://host:port/ws or wss://host/ws of a gateway (where its page is at http://host:port/), without a user or password"
)]
pub struct AddressError;

impl Address {
    /// Host and port as they are written in an address.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The host without brackets, as resolvers and certificates want it.
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

    pub(crate) fn kind(&self) -> Kind {
        self.kind
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
        let (kind, default_port) = match url.scheme() {
            "tcp" | "tls" => (Kind::Lines, CORE_PORT),
            "ws" => (Kind::WebSocket, 80),
            "wss" => (Kind::WebSocket, 443),
            _ => return Err(AddressError),
        };
        url.set_fragment(None);
        let bare = url.username().is_empty() && url.password().is_none();
        let pathless = matches!(url.path(), "" | "/") && url.query().is_none();
        // Only web schemes get their host checked by `url`: the others keep it as it was written.
        let host = Host::parse(url.host_str().unwrap_or_default()).map_err(|_| AddressError)?;
        if !bare || (kind == Kind::Lines && !pathless) {
            return Err(AddressError);
        }
        let port = url.port().unwrap_or(default_port);
        Ok(Self { url, host, port, kind })
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
    fn addresses() {
        for (text, want) in [
            ("tcp://127.0.0.1:5001", Some(("127.0.0.1", 5001, Kind::Lines, false))),
            ("tcp://core", Some(("core", 5001, Kind::Lines, false))),
            ("tls://core.example:6000", Some(("core.example", 6000, Kind::Lines, true))),
            ("tcp://[::1]:5001", Some(("::1", 5001, Kind::Lines, false))),
            ("ws://gateway:8765/ws", Some(("gateway", 8765, Kind::WebSocket, false))),
            ("wss://psicoia.example/ws", Some(("psicoia.example", 443, Kind::WebSocket, true))),
            ("ws://[::1]:8765", Some(("::1", 8765, Kind::WebSocket, false))),
            ("127.0.0.1:5001", Some(("127.0.0.1", 5001, Kind::Lines, false))),
            ("localhost:6000", Some(("localhost", 6000, Kind::Lines, false))),
            ("core.example", Some(("core.example", 5001, Kind::Lines, false))),
            ("[::1]:6000", Some(("::1", 6000, Kind::Lines, false))),
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
            let got = got.as_ref().map(|it| (it.host(), it.port(), it.kind(), it.has_tls()));
            let want = want.map(|(host, port, kind, tls)| (host.to_owned(), port, kind, tls));
            assert_eq!(got, want, "{text}");
        }
        assert_eq!("tcp://[::1]:5001".parse::<Address>().unwrap().authority(), "[::1]:5001");
    }
}
