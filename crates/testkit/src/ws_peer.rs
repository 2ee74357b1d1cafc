//! Client of the gateway: the line protocol over a WebSocket.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use protocol::Face;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::peer::{ConnectionEnd, Peer, PeerError};

/// Subprotocol of the frames face.
pub const FRAMES_SUBPROTOCOL: &str = "psicoia.v1";

/// Small, because load tests open thousands of clients.
const BUFFER_BYTES: usize = 4_096;

/// Client on a WebSocket.
#[derive(Debug)]
pub struct WsPeer {
    /// `None` after a cut.
    socket: Option<WebSocketStream<TcpStream>>,
    trace_id: Option<String>,
    ending: Option<ConnectionEnd>,
}

impl WsPeer {
    /// Opens a WebSocket at `/ws` of the gateway at `address`.
    ///
    /// # Errors
    ///
    /// The gateway is unreachable or rejects the upgrade.
    pub async fn connect(address: SocketAddr, face: Face) -> Result<Self, PeerError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::upgrade(stream, &format!("ws://{address}/ws"), face).await
    }

    /// Upgrades a connected stream to a WebSocket.
    ///
    /// # Errors
    ///
    /// The gateway rejects the upgrade.
    pub async fn upgrade(stream: TcpStream, url: &str, face: Face) -> Result<Self, PeerError> {
        let mut request = url.into_client_request()?;
        if face == Face::Frames {
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(FRAMES_SUBPROTOCOL));
        }
        let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(0);
        let (socket, response) = client_async_with_config(request, stream, Some(config)).await?;
        let trace_id = response.headers().get("x-trace-id").and_then(|value| value.to_str().ok());
        Ok(Self { trace_id: trace_id.map(str::to_owned), socket: Some(socket), ending: None })
    }

    /// Returns the trace id assigned by the gateway.
    pub fn trace_id(&self) -> Option<&str> {
        self.trace_id.as_deref()
    }

    /// Sends any message, including binary ones, pings and close frames.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn send(&mut self, message: Message) -> Result<(), PeerError> {
        Ok(self.socket.as_mut().ok_or(PeerError::Cut)?.send(message).await?)
    }

    /// Performs the closing handshake.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn close(&mut self) -> Result<(), PeerError> {
        Ok(self.socket.as_mut().ok_or(PeerError::Cut)?.close(None).await?)
    }
}

impl Peer for WsPeer {
    async fn send_line(&mut self, line: &str) -> Result<(), PeerError> {
        self.send(Message::text(line)).await
    }

    async fn next_line(&mut self) -> Result<Option<String>, PeerError> {
        loop {
            if self.ending.is_some() {
                return Ok(None);
            }
            let socket = self.socket.as_mut().ok_or(PeerError::Cut)?;
            match socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Some(text.as_str().to_owned())),
                Some(Ok(Message::Binary(_))) => return Err(PeerError::NotText("a binary message")),
                Some(Ok(Message::Close(frame))) => {
                    // RFC 6455 §7.1.5: 1005 stands for a close frame without a code.
                    self.ending = Some(ConnectionEnd::WebSocket(frame.map_or(1005, |frame| frame.code.into())));
                    // Flushes the reply to the close frame; the server may be gone already.
                    let _ = socket.flush().await;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                None | Some(Err(Error::Protocol(_) | Error::ConnectionClosed | Error::Io(_))) => {
                    self.ending = Some(ConnectionEnd::Broken);
                }
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    async fn half_close(&mut self) -> Result<(), PeerError> {
        std::future::ready(Err(PeerError::Unsupported("a WebSocket has no half-close"))).await
    }

    fn cut(&mut self) {
        self.socket = None;
    }

    fn ending(&self) -> Option<ConnectionEnd> {
        self.ending
    }
}

#[cfg(test)]
mod tests {
    use protocol::CloseReason;
    use tokio::net::TcpListener;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    use tokio_util::task::TaskTracker;

    use super::*;

    /// Starts a gateway that confirms the subprotocol, echoes one message and closes with `code`, or without a close
    /// frame if it is `None`.
    async fn gateway(code: Option<u16>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        TaskTracker::new().spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut offered = String::new();
            #[expect(clippy::result_large_err, reason = "the callback's type is tungstenite's")]
            let accept = |request: &Request, mut response: Response| {
                assert_eq!(request.uri(), "/ws");
                if let Some(name) = request.headers().get(SEC_WEBSOCKET_PROTOCOL) {
                    name.to_str().unwrap().clone_into(&mut offered);
                    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name.clone());
                }
                response.headers_mut().insert("x-trace-id", HeaderValue::from_static("t1"));
                Ok(response)
            };
            let mut socket = tokio_tungstenite::accept_hdr_async(stream, accept).await.unwrap();
            socket.send(Message::text(offered)).await.unwrap();
            socket.send(Message::Ping("x".into())).await.unwrap();
            let line = loop {
                match socket.next().await.unwrap().unwrap() {
                    Message::Text(line) => break line,
                    other => assert!(other.is_pong()),
                }
            };
            socket.send(Message::Text(line)).await.unwrap();
            if let Some(code) = code {
                let frame = CloseFrame { code: code.into(), reason: "".into() };
                socket.close(Some(frame)).await.unwrap();
                while socket.next().await.is_some() {}
            }
        });
        address
    }

    #[tokio::test]
    async fn faces_lines_and_close_codes() {
        for (face, subprotocol, code, ending) in [
            (Face::Frames, FRAMES_SUBPROTOCOL, Some(4009), ConnectionEnd::WebSocket(4009)),
            (Face::Plain, "", None, ConnectionEnd::Broken),
        ] {
            let mut peer = WsPeer::connect(gateway(code).await, face).await.unwrap();
            assert_eq!(peer.trace_id(), Some("t1"));
            assert_eq!(peer.next_line().await.unwrap().as_deref(), Some(subprotocol));
            peer.send_line("¿hola?").await.unwrap();
            assert_eq!(peer.next_line().await.unwrap().as_deref(), Some("¿hola?"));
            assert_eq!(peer.next_line().await.unwrap(), None);
            assert_eq!(peer.ending(), Some(ending));
            assert_eq!(ending.fits(CloseReason::Idle), code.is_some());
            assert_eq!(peer.next_line().await.unwrap(), None);
        }
    }
}
