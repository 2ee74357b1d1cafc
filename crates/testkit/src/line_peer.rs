//! Client of the line protocol over any byte stream.

use std::io;
use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use memchr::memchr;
use protocol::codec::encode_tag;
use protocol::limits::MAX_SERVER_LINE_BYTES;
use protocol::proxy_header::{self, CLOSING_LINE_MARK};
use protocol::trace::Traceparent;
use protocol::{CloseReason, Face};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::peer::{ConnectionEnd, Peer, PeerError};

/// Client that sends and receives lines over `S`.
#[derive(Debug)]
pub struct LinePeer<S> {
    /// `None` after a cut.
    stream: Option<S>,
    received: BytesMut,
    sending: Vec<u8>,
    /// Trace of a connection that announced tags; its lines belong to it.
    trace: Option<Traceparent>,
    /// Reason of the closing line.
    reason: Option<CloseReason>,
    ending: Option<ConnectionEnd>,
}

impl LinePeer<TcpStream> {
    /// Connects to `address` like a terminal.
    ///
    /// # Errors
    ///
    /// The connection is refused.
    pub async fn connect(address: SocketAddr) -> Result<Self, PeerError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }

    /// Connects to `address` like a gateway for a client at `source`: sends the PROXY header, tags lines, expects a
    /// closing line.
    ///
    /// # Errors
    ///
    /// The connection is refused or lost.
    pub async fn connect_as_gateway(address: SocketAddr, source: SocketAddr, face: Face) -> Result<Self, PeerError> {
        let mut peer = Self::connect(address).await?;
        peer.send_hop_header(source, address, face).await?;
        Ok(peer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> LinePeer<S> {
    /// Creates a client on a connected stream.
    pub fn new(stream: S) -> Self {
        let (received, sending) = (BytesMut::new(), Vec::new());
        Self { stream: Some(stream), received, sending, trace: None, reason: None, ending: None }
    }

    /// Sends a gateway's PROXY header; later lines are tagged. Must come before any other data.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn send_hop_header(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        face: Face,
    ) -> Result<(), PeerError> {
        let trace = Traceparent::random();
        self.trace = Some(trace);
        self.send_bytes(&proxy_header::encode(source, destination, trace, face)).await
    }

    /// Returns the connection's trace, if a header announced one.
    pub fn trace(&self) -> Option<Traceparent> {
        self.trace
    }

    /// Sends raw bytes.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), PeerError> {
        let stream = self.stream.as_mut().ok_or(PeerError::Cut)?;
        stream.write_all(bytes).await?;
        stream.flush().await?;
        Ok(())
    }

    /// Removes a complete line from the read buffer.
    fn take_line(&mut self) -> Result<Option<String>, PeerError> {
        let Some(end) = memchr(b'\n', &self.received) else {
            let max = MAX_SERVER_LINE_BYTES;
            return if max < self.received.len() { Err(PeerError::LineTooLong { max }) } else { Ok(None) };
        };
        let line = self.received.split_to(end);
        self.received.advance(1);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        std::str::from_utf8(line).map(|line| Some(line.to_owned())).map_err(|_| PeerError::NotText("not UTF-8"))
    }

    /// Records the end of the stream.
    fn end(&mut self, ending: ConnectionEnd) {
        self.ending = Some(self.reason.map_or(ending, ConnectionEnd::Reason));
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer for LinePeer<S> {
    async fn send_line(&mut self, line: &str) -> Result<(), PeerError> {
        let mut sending = std::mem::take(&mut self.sending);
        sending.clear();
        if let Some(trace) = self.trace {
            sending.extend_from_slice(&encode_tag(trace.child()));
        }
        sending.extend_from_slice(line.as_bytes());
        sending.push(b'\n');
        let sent = self.send_bytes(&sending).await;
        self.sending = sending;
        sent
    }

    async fn next_line(&mut self) -> Result<Option<String>, PeerError> {
        loop {
            if let Some(line) = self.take_line()? {
                match line.strip_prefix(char::from(CLOSING_LINE_MARK)) {
                    // An unknown reason counts as `internal`.
                    Some(name) => {
                        let reason = CloseReason::from_name(name.as_bytes());
                        self.reason = Some(reason.unwrap_or(CloseReason::Internal));
                    }
                    None => return Ok(Some(line)),
                }
                continue;
            }
            if self.ending.is_some() {
                return Ok(None);
            }
            let stream = self.stream.as_mut().ok_or(PeerError::Cut)?;
            match stream.read_buf(&mut self.received).await {
                Ok(0) => self.end(ConnectionEnd::Unexplained),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.end(ConnectionEnd::Broken),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn half_close(&mut self) -> Result<(), PeerError> {
        self.stream.as_mut().ok_or(PeerError::Cut)?.shutdown().await?;
        Ok(())
    }

    fn cut(&mut self) {
        self.stream = None;
    }

    fn ending(&self) -> Option<ConnectionEnd> {
        self.ending
    }
}

#[cfg(test)]
mod tests {
    use protocol::LineCodec;
    use protocol::proxy_header::ProxyHeaderParse;
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn lines_and_closing_line() {
        let (client, mut server) = duplex(4_096);
        let mut peer = LinePeer::new(client);
        server.write_all("uno\r\ndós\n\x04idle\n".as_bytes()).await.unwrap();
        drop(server);
        assert_eq!(peer.next_line().await.unwrap().as_deref(), Some("uno"));
        assert_eq!(peer.ending(), None);
        assert_eq!(peer.next_line().await.unwrap().as_deref(), Some("dós"));
        assert_eq!(peer.next_line().await.unwrap(), None);
        assert_eq!(peer.ending(), Some(ConnectionEnd::Reason(CloseReason::Idle)));
        assert_eq!(peer.next_line().await.unwrap(), None);
    }

    #[tokio::test]
    async fn speaks_like_a_gateway() {
        let (client, mut server) = duplex(4_096);
        let mut peer = LinePeer::new(client);
        let person = "203.0.113.9:4711".parse().unwrap();
        peer.send_hop_header(person, "127.0.0.1:5001".parse().unwrap(), Face::Frames).await.unwrap();
        peer.send_line("hola").await.unwrap();
        peer.half_close().await.unwrap();

        let mut bytes = BytesMut::new();
        while server.read_buf(&mut bytes).await.unwrap() != 0 {}
        let ProxyHeaderParse::Header { header, len } = proxy_header::parse(&bytes) else { panic!("no header") };
        assert_eq!((header.source, header.face, header.trace), (Some(person), Some(Face::Frames), peer.trace()));
        bytes.advance(len);
        let mut codec = LineCodec::default();
        codec.expect_tags();
        let Some(protocol::Inbound::Line { trace: Some(trace), text }) = codec.next_line(&mut bytes) else {
            panic!("no tagged line")
        };
        assert_eq!((trace.trace_id, text.expose()), (peer.trace().unwrap().trace_id, "hola"));
    }

    #[tokio::test]
    async fn cut_is_seen_as_the_end() {
        let (client, mut server) = duplex(64);
        let mut peer = LinePeer::new(client);
        peer.cut();
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(matches!(peer.send_line("x").await, Err(PeerError::Cut)));
    }
}
