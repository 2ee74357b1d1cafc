//! One connection: lines of a core or WebSocket messages of a gateway.
//!
//! All methods are poll-based and keep their state, so that dropping a waiting future loses
//! nothing. An idle connection holds no buffers.

mod decode;
mod happy_eyeballs;
mod lines;
mod stream;
mod websocket;

use std::io;
use std::task::{Context, Poll};

use protocol::{ClientFrame, ServerFrame};

use crate::address::{Address, Transport};
use lines::Lines;
use stream::Stream;
use websocket::WebSocket;

pub(crate) use stream::Tls;

/// Connection error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// Another attempt may succeed.
    #[error("{0}")]
    Lost(String),
    /// End of stream without a close code or error.
    #[error("the connection was closed")]
    Eof,
    /// The server closed the session for good.
    #[error("the server ended the conversation")]
    SessionEnded,
    /// Another attempt would fail the same way.
    #[error("{0}")]
    Refused(String),
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

/// Open connection. Boxed: load tests hold thousands, most of them idle.
#[derive(Debug)]
pub(crate) enum Wire {
    Lines(Box<Lines<Stream>>),
    WebSocket(Box<WebSocket<Stream>>),
}

impl Wire {
    /// Connects to `address`. The caller bounds the time.
    pub(crate) async fn connect(address: Address, tls: Option<Tls>) -> Result<Self, WireError> {
        let tcp = happy_eyeballs::open(&address).await?;
        tcp.set_nodelay(true)?;
        let stream = if address.has_tls() { stream::secure(tcp, &address, tls).await? } else { Stream::Plain(tcp) };
        match address.transport() {
            Transport::Lines => Ok(Self::Lines(Box::new(Lines::new(stream)))),
            Transport::WebSocket => Ok(Self::WebSocket(Box::new(WebSocket::upgrade(stream, &address).await?))),
        }
    }

    /// Polls the next server frame; `None` for a line of an unknown type.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<ServerFrame>, WireError>> {
        let line = match self {
            Self::Lines(lines) => lines.poll_line(cx),
            Self::WebSocket(socket) => {
                return socket.poll_line(cx).map(|line| decode::frame(line?.as_str()).map_err(malformed_frame));
            }
        };
        line.map(|line| {
            let line = line?;
            // Text before `welcome` is ignored, so HTTP must be detected here.
            if is_http(line.expose()) {
                return Err(http_error());
            }
            decode::frame(line.expose()).map_err(malformed_frame)
        })
    }

    /// Writes frames from `next` until it returns `None` and all are flushed.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        next: &mut dyn FnMut() -> Option<ClientFrame>,
    ) -> Poll<Result<(), WireError>> {
        match self {
            Self::Lines(lines) => lines.poll_send(cx, next),
            Self::WebSocket(socket) => socket.poll_send(cx, next),
        }
    }
}

/// True for a status line of HTTP/1.
fn is_http(line: &str) -> bool {
    line.starts_with("HTTP/1.")
}

/// Error for a gateway's port addressed as a core's.
fn http_error() -> WireError {
    WireError::Refused("the server there speaks HTTP; the address of a gateway is ws://host:port/ws".to_owned())
}

/// Omits the line, which may hold a person's text.
fn malformed_frame(error: decode::MalformedFrame) -> WireError {
    WireError::Lost(error.to_string())
}
