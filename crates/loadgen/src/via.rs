//! Where people connect, and the two kinds of connection they may have.

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

    async fn open_one(&self, number: usize, address: SocketAddr, face: Face) -> Result<Client, LoadError> {
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

    async fn connect(&self, address: SocketAddr, face: Face) -> Result<Client, PeerError> {
        match self {
            Self::Tcp { .. } => LinePeer::connect(address).await.map(Client::Tcp),
            Self::WebSocket { url, .. } => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                WsPeer::upgrade(stream, url, face).await.map(Box::new).map(Client::WebSocket)
            }
        }
    }

    async fn resolve(&self) -> Result<SocketAddr, LoadError> {
        let (Self::Tcp { host } | Self::WebSocket { host, .. }) = self;
        let first = lookup_host(host).await?.next();
        first.ok_or_else(|| LoadError::Unresolved(host.clone()))
    }
}

/// One person's connection.
#[derive(Debug)]
pub enum Client {
    /// To the core.
    Tcp(LinePeer<TcpStream>),
    /// To a gateway.
    WebSocket(Box<WsPeer>),
}

impl Client {
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
        self.send_line(r#"{"type":"hello","v":1,"client":"loadgen"}"#).await.map_err(|error| error.to_string())?;
        loop {
            let line = self.line().await?;
            if line.contains(r#""type":"welcome""#) {
                return Ok(());
            }
            if line.contains(r#""type":"error""#) {
                return Err(line);
            }
        }
    }

    async fn line(&mut self) -> Result<String, String> {
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
