//! Line server of one's own behind the gateway: answers each line with the same line in capitals.
//!
//! It speaks the gateway's side of the plain face (`proto-line/SPEC.md` §2, §6, §8): a PROXY header first, tagged lines
//! up, plain lines down, and the close reason as the last line.
//!
//! ```sh
//! cargo run -p examples --example line-server -- 127.0.0.1:5050
//! TCP_HOST=127.0.0.1 TCP_PORT=5050 cargo run --bin ws-gateway
//! ```

use std::env;
use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use protocol::proxy_header::{self, CLOSING_LINE_MARK, ProxyHeader, ProxyHeaderParse};
use protocol::server_frame::ErrorFrame;
use protocol::{CloseReason, ErrorCode, Face, Inbound, Language, LineCodec, ServerFrame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// Time limit for the header. A gateway sends it with the first segment.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Time without a line after which a connection ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(900);

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the address is this program's output")]
async fn main() -> Result<(), Box<dyn Error>> {
    // The header is trusted: bind to loopback or to the gateways' own network, nothing wider.
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5050".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("{}", listener.local_addr()?);
    let tasks = TaskTracker::new();
    loop {
        let (stream, _) = listener.accept().await?;
        tasks.spawn(async move {
            // A lost connection concerns its client only.
            let _ = serve(Connection { stream, received: BytesMut::new() }).await;
        });
    }
}

/// Serves one connection: one person's WebSocket, or a health check of the gateway.
async fn serve(mut connection: Connection) -> io::Result<()> {
    let header = timeout(HEADER_TIMEOUT, connection.header()).await??;
    let reason = match header.face {
        Some(Face::Plain) => converse(&mut connection, &header).await?,
        // A program's connection or a health check. The health check is content with any byte.
        Some(Face::Frames) => {
            let mut frame = BytesMut::new();
            let error = ErrorFrame::new(ErrorCode::VersionUnsupported, Language::English);
            ServerFrame::Error(error).encode_line(&mut frame);
            connection.stream.write_all(&frame).await?;
            CloseReason::VersionUnsupported
        }
        None => return Err(io::ErrorKind::InvalidData.into()),
    };
    if header.closing_line {
        let mark = char::from(CLOSING_LINE_MARK);
        connection.write_line(&format!("{mark}{reason}")).await?;
    }
    connection.stream.shutdown().await
}

/// Greets, then answers line by line; returns the reason of the end.
async fn converse(connection: &mut Connection, header: &ProxyHeader) -> io::Result<CloseReason> {
    let client = header.source.map_or_else(|| "somebody".to_owned(), |source| source.ip().to_string());
    connection.write_line(&format!("Hello, {client}. 'salir' ends the conversation.")).await?;
    let mut lines = LineCodec::default();
    // A gateway puts a trace before each line.
    lines.expect_tags();
    loop {
        let line = match timeout(IDLE_TIMEOUT, connection.next_line(&mut lines)).await {
            Err(_) => return Ok(CloseReason::Idle),
            Ok(line) => line?,
        };
        match line {
            None => return Ok(CloseReason::ClientGone),
            Some(Inbound::Rejected { code, .. }) => {
                connection.write_line(&code.message(Language::English, None)).await?;
            }
            Some(Inbound::Line { text, .. }) if text.expose().trim() == "salir" => {
                connection.write_line("Good-bye.").await?;
                return Ok(CloseReason::Bye);
            }
            Some(Inbound::Line { text, .. }) => connection.write_line(&text.expose().to_uppercase()).await?,
        }
    }
}

struct Connection {
    stream: TcpStream,
    received: BytesMut,
}

impl Connection {
    /// Reads the gateway's header.
    async fn header(&mut self) -> io::Result<ProxyHeader> {
        loop {
            match proxy_header::parse(&self.received) {
                ProxyHeaderParse::Header { header, len } => {
                    self.received.advance(len);
                    return Ok(header);
                }
                ProxyHeaderParse::Incomplete { .. } if self.read().await? => {}
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// Reads the next line; `None` at the end of the stream.
    async fn next_line(&mut self, lines: &mut LineCodec) -> io::Result<Option<Inbound>> {
        loop {
            if let Some(line) = lines.next_line(&mut self.received) {
                return Ok(Some(line));
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Reads more bytes; false at the end of the stream.
    async fn read(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.received).await? != 0)
    }

    async fn write_line(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes()).await
    }
}
