//! One connection: lines to and from a core, or messages to and from a gateway.
//!
//! Everything here is polled and keeps its state, so that whoever drives it may stop waiting
//! at any time and loses nothing. A connection that idles holds next to no memory.

mod connecting;
mod decode;
mod lines;
mod stream;
mod websocket;

use std::io;
use std::task::{Context, Poll};

use protocol::{ClientFrame, ServerFrame};

use crate::address::{Address, Kind};
use lines::Lines;
use stream::Stream;
use websocket::WebSocket;

pub(crate) use stream::Tls;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// Another attempt may succeed.
    #[error("{0}")]
    Lost(String),
    /// The stream or the WebSocket has come to its end without a word about why.
    #[error("the connection was closed")]
    End,
    /// The server has ended the conversation for good.
    #[error("the server ended the conversation")]
    Ended,
    /// Another attempt would end the same way.
    #[error("{0}")]
    Refused(String),
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

/// A connection. Boxed where it is large: there may be thousands.
#[derive(Debug)]
pub(crate) enum Wire {
    Lines(Box<Lines<Stream>>),
    WebSocket(Box<WebSocket<Stream>>),
}

impl Wire {
    /// Connects to `address`. Has no time limit of its own.
    pub(crate) async fn connect(address: Address, tls: Option<Tls>) -> Result<Self, WireError> {
        let tcp = connecting::open(&address).await?;
        tcp.set_nodelay(true)?;
        let stream = if address.has_tls() { stream::secure(tcp, &address, tls).await? } else { Stream::Plain(tcp) };
        match address.kind() {
            Kind::Lines => Ok(Self::Lines(Box::new(Lines::new(stream)))),
            Kind::WebSocket => Ok(Self::WebSocket(Box::new(WebSocket::upgrade(stream, &address).await?))),
        }
    }

    /// The next frame of the server; `None` for a line this version has no frame for.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<ServerFrame>, WireError>> {
        let line = match self {
            Self::Lines(lines) => lines.poll_line(cx),
            Self::WebSocket(socket) => {
                return socket.poll_line(cx).map(|line| decode::frame(line?.as_str()).map_err(not_a_frame));
            }
        };
        line.map(|line| {
            let line = line?;
            // Otherwise what comes before `welcome` is ignored.
            if is_http(line.expose()) {
                return Err(http());
            }
            decode::frame(line.expose()).map_err(not_a_frame)
        })
    }

    /// Writes what `next` gives until it gives nothing and all of it is on its way.
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

/// Whether the line begins the response of a web server.
fn is_http(line: &str) -> bool {
    line.starts_with("HTTP/1.")
}

/// A gateway's port was taken for a core's.
fn http() -> WireError {
    WireError::Refused("the server there speaks HTTP; the address of a gateway is ws://host:port/ws".to_owned())
}

/// Says nothing of the line: it may hold what people write.
fn not_a_frame(error: decode::NotAFrame) -> WireError {
    WireError::Lost(error.to_string())
}
