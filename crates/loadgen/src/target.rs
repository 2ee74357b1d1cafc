//! Targets of users and their two kinds of connection.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use protocol::Face;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use testkit::line_peer::LinePeer;
use testkit::peer::{Peer as _, PeerError};
use testkit::ws_peer::WsPeer;

use crate::error::LoadError;

const MAX_CONCURRENT_CONNECTS: usize = 64;
/// Timeout from connecting to the greeting: long, because thousands may connect at once.
const GREETING_TIMEOUT: Duration = Duration::from_secs(30);
/// Lines of the plain greeting.
const GREETING_LINES: usize = 3;
/// Opens a framed session; the reply contains [`WELCOME`].
const HELLO: &str = r#"{"type":"hello","v":1}"#;
const WELCOME: &str = r#""type":"welcome""#;

/// Address that users connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A core: `tcp://host:port`.
    Tcp {
        /// `host:port`
        host: String,
    },
    /// A gateway: `ws://host:port/path`.
    WebSocket {
        /// `host:port`
        host: String,
        /// Complete URL.
        url: String,
    },
}

impl FromStr for Target {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        let host = |rest: &str| {
            let host = rest.split('/').next().unwrap_or_default().to_owned();
            if host.contains(':') { Ok(host) } else { Err(LoadError::InvalidTarget(text.to_owned())) }
        };
        match text.split_once("://") {
            Some(("tcp", rest)) => Ok(Self::Tcp { host: host(rest)? }),
            Some(("ws", rest)) => Ok(Self::WebSocket { host: host(rest)?, url: text.to_owned() }),
            _ => Err(LoadError::InvalidTarget(text.to_owned())),
        }
    }
}

impl Target {
    /// Opens `count` connections and waits for their greetings.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub async fn open(&self, count: usize, face: Face) -> Result<Vec<Client>, LoadError> {
        let address = self.resolve().await?;
        let opening = (0..count).map(|number| self.open_one(number, address, face));
        stream::iter(opening).buffer_unordered(MAX_CONCURRENT_CONNECTS).try_collect().await
    }

    /// Opens raw connections of either face, without the client library.
    pub(crate) async fn open_lines(&self, count: usize, face: Face) -> Result<Vec<RawConnection>, LoadError> {
        let address = self.resolve().await?;
        let opening = (0..count).map(|number| self.open_bare(number, address, face));
        stream::iter(opening).buffer_unordered(MAX_CONCURRENT_CONNECTS).try_collect().await
    }

    async fn open_one(&self, number: usize, address: SocketAddr, face: Face) -> Result<Client, LoadError> {
        match face {
            Face::Frames => self.open_framed(number).await,
            Face::Plain => self.open_bare(number, address, face).await.map(Client::Raw),
        }
    }

    /// Opens a connection with the client library. It does not reconnect: losses are counted.
    async fn open_framed(&self, number: usize) -> Result<Client, LoadError> {
        let address = self.to_string().parse().map_err(|_| LoadError::InvalidTarget(self.to_string()))?;
        let builder =
            client::Client::builder(address).client_name("loadgen").connect_timeout(GREETING_TIMEOUT).attempts(1);
        let client = builder.connect().await.map_err(|source| LoadError::Open { number, source })?;
        Ok(Client::Framed(Box::new(client)))
    }

    async fn open_bare(&self, number: usize, address: SocketAddr, face: Face) -> Result<RawConnection, LoadError> {
        let opening = async {
            let mut client =
                self.connect(address, face).await.map_err(|source| LoadError::Connect { number, source })?;
            match client.greeting(face).await {
                Ok(()) => Ok(client),
                Err(got) => Err(LoadError::NotGreeted { number, got }),
            }
        };
        let late = |_| LoadError::NotGreeted { number, got: format!("nothing for {GREETING_TIMEOUT:?}") };
        timeout(GREETING_TIMEOUT, opening).await.map_err(late)?
    }

    async fn connect(&self, address: SocketAddr, face: Face) -> Result<RawConnection, PeerError> {
        match self {
            Self::Tcp { .. } => LinePeer::connect(address).await.map(RawConnection::Tcp),
            Self::WebSocket { url, .. } => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                WsPeer::upgrade(stream, url, face).await.map(Box::new).map(RawConnection::WebSocket)
            }
        }
    }

    async fn resolve(&self) -> Result<SocketAddr, LoadError> {
        let (Self::Tcp { host } | Self::WebSocket { host, .. }) = self;
        let first = lookup_host(host).await?.next();
        first.ok_or_else(|| LoadError::Unresolved(host.clone()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host } => write!(f, "tcp://{host}"),
            Self::WebSocket { url, .. } => f.write_str(url),
        }
    }
}

/// Connection of one user.
#[derive(Debug)]
pub enum Client {
    /// Frames, over the client library.
    Framed(Box<client::Client>),
    /// Raw lines.
    Raw(RawConnection),
}

/// Raw lines of either face.
#[derive(Debug)]
pub enum RawConnection {
    /// To the core.
    Tcp(LinePeer<TcpStream>),
    /// To a gateway.
    WebSocket(Box<WsPeer>),
}

impl RawConnection {
    /// Sends a line.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub async fn send_line(&mut self, line: &str) -> Result<(), PeerError> {
        match self {
            Self::Tcp(peer) => peer.send_line(line).await,
            Self::WebSocket(peer) => peer.send_line(line).await,
        }
    }

    /// Reads the next line; `None` at end of stream.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub async fn next_line(&mut self) -> Result<Option<String>, PeerError> {
        match self {
            Self::Tcp(peer) => peer.next_line().await,
            Self::WebSocket(peer) => peer.next_line().await,
        }
    }

    /// Completes the greeting; the error is the unexpected line.
    async fn greeting(&mut self, face: Face) -> Result<(), String> {
        if face == Face::Plain {
            for _ in 0..GREETING_LINES {
                self.line().await?;
            }
            return Ok(());
        }
        self.send_line(HELLO).await.map_err(|error| error.to_string())?;
        let line = self.line().await?;
        if line.contains(WELCOME) { Ok(()) } else { Err(line) }
    }

    /// Reads the next line; the error describes the end of the stream.
    pub(crate) async fn line(&mut self) -> Result<String, String> {
        match self.next_line().await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err("the end".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_targets_and_rejects_others() {
        let tcp = Target::Tcp { host: "127.0.0.1:5001".to_owned() };
        assert_eq!("tcp://127.0.0.1:5001".parse::<Target>().unwrap(), tcp);
        let url = "ws://gateway:8765/ws";
        let ws = Target::WebSocket { host: "gateway:8765".to_owned(), url: url.to_owned() };
        assert_eq!(url.parse::<Target>().unwrap(), ws);
        for bad in ["127.0.0.1:5001", "http://x:1", "tcp://x", "ws://x/ws:1"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
