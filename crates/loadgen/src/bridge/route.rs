//! Route to the echo server, with its request and response bytes.
//!
//! A WebSocket client costs as little as a TCP one: its messages are constant, so both frames
//! are encoded once.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::error::LoadError;

/// Constant mask: the server has to unmask it all the same.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const FINAL_TEXT: u8 = 0x81;
const MASKED: u8 = 0x80;
/// Longest payload whose length fits the second byte of a frame header.
const SHORT_PAYLOAD: usize = 125;
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// Bound on the response to an upgrade.
const MAX_HEAD_BYTES: usize = 4_096;

/// Route to the echo server.
#[derive(Debug)]
pub(super) struct Route {
    /// Its name in the report.
    pub(super) name: &'static str,
    /// Process that is measured.
    pub(super) pid: u32,
    address: SocketAddr,
    websocket: bool,
    request: Vec<u8>,
    response: Vec<u8>,
}

impl Route {
    /// Route over TCP: echoes `line` and its newline.
    pub(super) fn tcp(name: &'static str, pid: u32, address: SocketAddr, line: &str) -> Self {
        let bytes = format!("{line}\n").into_bytes();
        Self { name, pid, address, websocket: false, request: bytes.clone(), response: bytes }
    }

    /// Route over a WebSocket: echoes `line` as a text message.
    pub(super) fn websocket(name: &'static str, pid: u32, address: SocketAddr, line: &str) -> Self {
        let length = u8::try_from(line.len().min(SHORT_PAYLOAD)).unwrap_or_default();
        let masked = line.bytes().zip(MASK.into_iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let request = [FINAL_TEXT, MASKED | length].into_iter().chain(MASK).chain(masked).collect();
        let response = [FINAL_TEXT, length].into_iter().chain(line.bytes()).collect();
        Self { name, pid, address, websocket: true, request, response }
    }

    /// The longest line that every route can carry.
    pub(super) const fn longest_line() -> usize {
        SHORT_PAYLOAD
    }

    pub(super) async fn connect(&self) -> Result<TcpStream, LoadError> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        if self.websocket {
            self.upgrade(&mut stream).await?;
        }
        Ok(stream)
    }

    async fn upgrade(&self, stream: &mut TcpStream) -> Result<(), LoadError> {
        stream.write_all(format!("GET /ws HTTP/1.1\r\nHost: {}\r\n{UPGRADE}", self.address).as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if MAX_HEAD_BYTES < head.len() || stream.read_buf(&mut head).await? == 0 {
                return Err(self.problem("no answer to the upgrade"));
            }
        }
        if head.starts_with(b"HTTP/1.1 101 ") {
            return Ok(());
        }
        let status = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
        Err(self.problem(&format!("refuses the upgrade: {status}")))
    }

    /// Makes one round trip.
    pub(super) async fn exchange(&self, stream: &mut TcpStream) -> Result<(), LoadError> {
        let mut back = [0; SHORT_PAYLOAD + 2];
        let back = back.get_mut(..self.response.len()).unwrap_or_default();
        stream.write_all(&self.request).await?;
        stream.read_exact(back).await?;
        self.check(back)
    }

    /// Makes one round trip with blocking I/O.
    pub(super) fn exchange_blocking(&self, mut stream: &std::net::TcpStream) -> Result<(), LoadError> {
        let mut back = [0; SHORT_PAYLOAD + 2];
        let back = back.get_mut(..self.response.len()).unwrap_or_default();
        stream.write_all(&self.request)?;
        stream.read_exact(back)?;
        self.check(back)
    }

    fn check(&self, back: &[u8]) -> Result<(), LoadError> {
        if back == self.response { Ok(()) } else { Err(self.problem("a line came back changed")) }
    }

    pub(super) fn problem(&self, problem: &str) -> LoadError {
        LoadError::Route { route: self.name, problem: problem.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_frames_as_in_rfc_6455() {
        let address = "127.0.0.1:1".parse().unwrap();
        let route = Route::websocket("x", 1, address, "Hello");
        // The examples of RFC 6455, section 5.7.
        assert_eq!(route.request, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        assert_eq!(route.response, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(Route::tcp("x", 1, address, "Hello").request, b"Hello\n");
    }
}
