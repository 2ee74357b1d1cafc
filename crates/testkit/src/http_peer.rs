//! Client of the gateway: the line protocol over one HTTP exchange (`POST /lines`).

use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use memchr::memchr;
use protocol::CloseReason;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::peer::{ConnectionEnd, Peer, PeerError};

/// Client whose lines are chunks of a request body, and which reads the response meanwhile.
#[derive(Debug)]
pub struct HttpPeer {
    /// `None` after a cut.
    stream: Option<TcpStream>,
    /// Bytes of the response that are not decoded.
    received: BytesMut,
    /// Decoded bytes of the body.
    body: BytesMut,
    next: Next,
    ending: Option<ConnectionEnd>,
}

/// The next element of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Head,
    ChunkSize,
    /// A chunk with this many bytes to come, its line break included.
    Chunk(usize),
    Nothing,
}

/// Length of the line break behind a chunk.
const BREAK: usize = 2;

impl HttpPeer {
    /// Opens an exchange at the gateway at `address`.
    ///
    /// # Errors
    ///
    /// The gateway is unreachable.
    pub async fn connect(address: SocketAddr) -> Result<Self, PeerError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (received, body) = (BytesMut::new(), BytesMut::new());
        let mut peer = Self { stream: Some(stream), received, body, next: Next::Head, ending: None };
        let head = format!(
            "POST /lines HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-ndjson\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        peer.send(head.as_bytes()).await?;
        Ok(peer)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), PeerError> {
        Ok(self.stream.as_mut().ok_or(PeerError::Cut)?.write_all(bytes).await?)
    }

    /// Decodes one element of the response; false if more bytes are needed.
    fn decode(&mut self) -> Result<bool, PeerError> {
        let line = |received: &mut BytesMut| memchr(b'\n', received).map(|end| received.split_to(end + 1));
        match self.next {
            Next::Head => match line(&mut self.received) {
                Some(line) if line.starts_with(b"HTTP/1.1 ") && !line.starts_with(b"HTTP/1.1 200 ") => {
                    return Err(PeerError::NotText("the exchange was refused"));
                }
                Some(line) if line == b"\r\n"[..] => self.next = Next::ChunkSize,
                Some(_) => {}
                None => return Ok(false),
            },
            Next::ChunkSize => {
                let Some(line) = line(&mut self.received) else { return Ok(false) };
                let size = str::from_utf8(&line).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
                let size = size.ok_or(PeerError::NotText("a chunk without its size"))?;
                self.next = if size == 0 { Next::Nothing } else { Next::Chunk(size + BREAK) };
            }
            Next::Chunk(left) => {
                if self.received.is_empty() {
                    return Ok(false);
                }
                let part = self.received.split_to(left.min(self.received.len()));
                let text = part.len().min(left.saturating_sub(BREAK));
                self.body.extend_from_slice(&part[..text]);
                let left = left - part.len();
                self.next = if left == 0 { Next::ChunkSize } else { Next::Chunk(left) };
            }
            Next::Nothing => return Ok(false),
        }
        Ok(true)
    }

    /// Removes a complete line from the body.
    fn take_line(&mut self) -> Result<Option<String>, PeerError> {
        let Some(end) = memchr(b'\n', &self.body) else { return Ok(None) };
        let line = self.body.split_to(end);
        self.body.advance(1);
        str::from_utf8(&line).map(|line| Some(line.to_owned())).map_err(|_| PeerError::NotText("not UTF-8"))
    }
}

/// Returns the end that the last line of an exchange names.
fn closed(line: &str) -> Option<ConnectionEnd> {
    let line: Value = serde_json::from_str(line).ok()?;
    let code = (line["type"] == "closed").then(|| line["code"].as_u64()).flatten()?;
    let reason = line["reason"].as_str().and_then(|reason| CloseReason::from_name(reason.as_bytes()));
    Some(reason.map_or_else(|| ConnectionEnd::WebSocket(code.try_into().unwrap_or(u16::MAX)), ConnectionEnd::Reason))
}

impl Peer for HttpPeer {
    async fn send_line(&mut self, line: &str) -> Result<(), PeerError> {
        let chunk = format!("{:x}\r\n{line}\n\r\n", line.len() + 1);
        self.send(chunk.as_bytes()).await
    }

    async fn next_line(&mut self) -> Result<Option<String>, PeerError> {
        loop {
            match self.take_line()? {
                Some(line) if line.is_empty() => continue,
                Some(line) => match closed(&line) {
                    None => return Ok(Some(line)),
                    ending => self.ending = ending,
                },
                None => {}
            }
            if self.ending.is_some() {
                return Ok(None);
            }
            if self.decode()? {
                continue;
            }
            let stream = self.stream.as_mut().ok_or(PeerError::Cut)?;
            if self.next == Next::Nothing || stream.read_buf(&mut self.received).await.unwrap_or(0) == 0 {
                self.ending = Some(ConnectionEnd::Broken);
            }
        }
    }

    async fn half_close(&mut self) -> Result<(), PeerError> {
        self.send(b"0\r\n\r\n").await
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
    use super::*;

    #[test]
    fn last_line_names_the_end() {
        for (line, want) in [
            (r#"{"type":"closed","code":1000,"reason":"bye"}"#, Some(ConnectionEnd::Reason(CloseReason::Bye))),
            (r#"{"type":"closed","code":1012,"reason":"core_lost"}"#, Some(ConnectionEnd::WebSocket(1012))),
            (r#"{"type":"done","code":1000}"#, None),
            ("Usuario-1 conectado.", None),
        ] {
            assert_eq!(closed(line), want, "{line}");
        }
    }

    #[tokio::test]
    async fn body_is_decoded_at_every_cut() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = HttpPeer::connect(listener.local_addr().unwrap()).await.unwrap();
        let response = b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n4\r\n{\"a\"\r\n8\r\n:1}\n\n{\"b\r\n5\r\n\":2}\n\r\n0\r\n\r\n";
        for byte in response {
            peer.received.extend_from_slice(&[*byte]);
            while peer.decode().unwrap() {}
        }
        assert_eq!(peer.next_line().await.unwrap().as_deref(), Some("{\"a\":1}"));
        assert_eq!(peer.next_line().await.unwrap().as_deref(), Some("{\"b\":2}"));
        assert_eq!((peer.next_line().await.unwrap(), peer.ending()), (None, Some(ConnectionEnd::Broken)));
    }
}
