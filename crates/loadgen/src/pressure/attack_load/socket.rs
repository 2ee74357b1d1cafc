//! Sockets of attackers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// Uses the key of RFC 6455's example: servers do not check that it is random.
pub(super) const UPGRADE_REQUEST: &str = "GET /ws HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Protocol: psicoia.v1\r\n\r\n";
/// Bound on the head of an upgrade response.
const HEAD_BYTES: usize = 4_096;

/// Connects from 127.0.0.`source`. Zero linger: sockets in `TIME_WAIT` would soon exhaust the ports.
pub(super) async fn connect(source: u8, to: SocketAddr, receive_bytes: Option<u32>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_zero_linger()?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind((Ipv4Addr::new(127, 0, 0, source), 0).into())?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects and upgrades to a WebSocket; returns the raw stream.
pub(super) async fn websocket(source: u8, to: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = connect(source, to, None).await?;
    stream.write_all(UPGRADE_REQUEST.as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte: later bytes belong to the WebSocket.
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES {
        head.push(stream.read_u8().await?);
    }
    if head.starts_with(b"HTTP/1.1 101") { Ok(stream) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
}

/// Header of a text message with a payload of `bytes`, masked with zeros.
pub(super) fn message_head(bytes: u16) -> [u8; 8] {
    let [high, low] = bytes.to_be_bytes();
    [0x81, 0x80 | 126, high, low, 0, 0, 0, 0]
}
