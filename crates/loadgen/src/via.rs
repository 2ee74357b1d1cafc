//! Where people connect, and the two kinds of connection they may have.

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

/// Connections opened at the same time.
const CONNECTING: usize = 64;
/// How long a connection may take to be greeted.
const GREETING: Duration = Duration::from_secs(30);
/// Lines of a plain greeting.
const GREETING_LINES: usize = 3;
/// What opens a framed session, and a part of what answers it.
const HELLO: &str = r#"{"type":"hello","v":1}"#;
const WELCOME: &str = r#""type":"welcome""#;

/// An address to send people to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// The line protocol itself: `tcp://host:port`.
    Tcp {
        /// `host:port`
        host: String,
    },
    /// Through a gateway: `ws://host:port/path`.
    WebSocket {
        /// `host:port`
        host: String,
        /// The whole address.
        url: String,
    },
}

impl FromStr for Via {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        let host = |rest: &str| {
            let host = rest.split('/').next().unwrap_or_default().to_owned();
            if host.contains(':') { Ok(host) } else { Err(LoadError::Via(text.to_owned())) }
        };
        match text.split_once("://") {
            Some(("tcp", rest)) => Ok(Self::Tcp { host: host(rest)? }),
            Some(("ws", rest)) => Ok(Self::WebSocket { host: host(rest)?, url: text.to_owned() }),
            _ => Err(LoadError::Via(text.to_owned())),
        }
    }
}

impl Via {
    /// Opens `count` connections and waits until each is greeted.
    ///
    /// # Errors
    ///
    /// The first that fails.
    pub async fn open(&self, count: usize, face: Face) -> Result<Vec<Client>, LoadError> {
        let address = self.resolve().await?;
        let opening = (0..count).map(|number| self.open_one(number, address, face));
        stream::iter(opening).buffer_unordered(CONNECTING).try_collect().await
    }

    /// The same without a client in between: the lines of either face as they are on the wire.
    pub(crate) async fn open_lines(&self, count: usize, face: Face) -> Result<Vec<Plain>, LoadError> {
        let address = self.resolve().await?;
        let opening = (0..count).map(|number| self.open_bare(number, address, face));
        stream::iter(opening).buffer_unordered(CONNECTING).try_collect().await
    }

    async fn open_one(&self, number: usize, address: SocketAddr, face: Face) -> Result<Client, LoadError> {
        match face {
            Face::Frames => self.open_framed(number).await,
            Face::Plain => self.open_bare(number, address, face).await.map(Client::Plain),
        }
    }

    /// With the product's own client. A connection that is lost stays lost: that is counted.
    async fn open_framed(&self, number: usize) -> Result<Client, LoadError> {
        let address = self.to_string().parse().map_err(|_| LoadError::Via(self.to_string()))?;
        let builder = client::Client::builder(address).client_name("loadgen").connect_limit(GREETING).attempts(1);
        let client = builder.connect().await.map_err(|source| LoadError::Open { number, source })?;
        Ok(Client::Framed(Box::new(client)))
    }

    async fn open_bare(&self, number: usize, address: SocketAddr, face: Face) -> Result<Plain, LoadError> {
        let opening = async {
            let mut client =
                self.connect(address, face).await.map_err(|source| LoadError::Connect { number, source })?;
            match client.greeting(face).await {
                Ok(()) => Ok(client),
                Err(got) => Err(LoadError::NotGreeted { number, got }),
            }
        };
        let late = |_| LoadError::NotGreeted { number, got: format!("nothing for {GREETING:?}") };
        timeout(GREETING, opening).await.map_err(late)?
    }

    async fn connect(&self, address: SocketAddr, face: Face) -> Result<Plain, PeerError> {
        match self {
            Self::Tcp { .. } => LinePeer::connect(address).await.map(Plain::Tcp),
            Self::WebSocket { url, .. } => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                WsPeer::upgrade(stream, url, face).await.map(Box::new).map(Plain::WebSocket)
            }
        }
    }

    async fn resolve(&self) -> Result<SocketAddr, LoadError> {
        let (Self::Tcp { host } | Self::WebSocket { host, .. }) = self;
        let first = lookup_host(host).await?.next();
        first.ok_or_else(|| LoadError::Unresolved(host.clone()))
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host } => write!(f, "tcp://{host}"),
            Self::WebSocket { url, .. } => f.write_str(url),
        }
    }
}

/// One person's connection.
#[derive(Debug)]
pub enum Client {
    /// Frames, as a program has them.
    Framed(Box<client::Client>),
    /// Lines, as people have them.
    Plain(Plain),
}

/// Lines as people have them.
#[derive(Debug)]
pub enum Plain {
    /// To the core.
    Tcp(LinePeer<TcpStream>),
    /// To a gateway.
    WebSocket(Box<WsPeer>),
}

impl Plain {
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

    /// The next line; `None` at the end.
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

    /// Goes through what comes before the first message; the error is what came instead.
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

    /// The next line; the error is what came instead.
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
    fn addresses() {
        let tcp = Via::Tcp { host: "127.0.0.1:5001".to_owned() };
        assert_eq!("tcp://127.0.0.1:5001".parse::<Via>().unwrap(), tcp);
        let url = "ws://gateway:8765/ws";
        let ws = Via::WebSocket { host: "gateway:8765".to_owned(), url: url.to_owned() };
        assert_eq!(url.parse::<Via>().unwrap(), ws);
        for bad in ["127.0.0.1:5001", "http://x:1", "tcp://x", "ws://x/ws:1"] {
            assert!(bad.parse::<Via>().is_err(), "{bad}");
        }
    }
}
