//! What the two kinds of client, line and WebSocket, have in common.

use std::fmt;
use std::io;

use protocol::CloseReason;

/// The client's end of a connection, as a program at the terminal would use it.
pub trait Peer {
    /// Sends one line; `line` has no line ending.
    fn send_line(&mut self, line: &str) -> impl Future<Output = Result<(), PeerError>>;

    /// The next line, without its ending; `None` once the server has closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    fn next_line(&mut self) -> impl Future<Output = Result<Option<String>, PeerError>>;

    /// Closes the sending side only.
    fn half_close(&mut self) -> impl Future<Output = Result<(), PeerError>>;

    /// Drops the connection without a good-bye.
    fn cut(&mut self);

    /// How the connection ended, as far as this client was told; `None` while it is open.
    fn ending(&self) -> Option<ConnectionEnd>;
}

/// What a client knows of why its connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The server's reason, from a closing line or from the server itself.
    Reason(CloseReason),
    /// A WebSocket close code.
    WebSocket(u16),
    /// An ordinary end of the stream, without a reason.
    Unexplained,
    /// A reset, or a WebSocket's end without a close frame.
    Broken,
}

impl ConnectionEnd {
    /// Whether a connection that ended for `reason` may look like this.
    pub fn fits(self, reason: CloseReason) -> bool {
        match self {
            Self::Reason(seen) => seen == reason,
            Self::WebSocket(code) => close_code(reason) == Some(code),
            Self::Unexplained => true,
            Self::Broken => false,
        }
    }
}

impl fmt::Display for ConnectionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reason(reason) => write!(f, "closed {reason}"),
            Self::WebSocket(code) => write!(f, "closed with WebSocket code {code}"),
            Self::Unexplained => f.write_str("closed"),
            Self::Broken => f.write_str("broken"),
        }
    }
}

/// The WebSocket code of a reason (`proto-line/SPEC.md` §6), written down here again so
/// that the gateway's own table is checked against something.
fn close_code(reason: CloseReason) -> Option<u16> {
    match reason {
        CloseReason::Bye | CloseReason::Erased => Some(1000),
        CloseReason::Draining => Some(1001),
        CloseReason::Unauthorized | CloseReason::VersionUnsupported => Some(1008),
        CloseReason::Internal => Some(1011),
        CloseReason::TooManyConnections => Some(1013),
        CloseReason::SlowConsumer => Some(4008),
        CloseReason::Idle => Some(4009),
        CloseReason::HandshakeTimeout => Some(4010),
        CloseReason::ClientGone => None,
    }
}

/// Why a client cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The connection failed.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// The WebSocket failed. Boxed: it is many times the size of the others.
    #[error("WebSocket: {0}")]
    WebSocket(Box<tokio_tungstenite::tungstenite::Error>),
    /// The server sent a line that is longer than any may be.
    #[error("a line of more than {max} bytes")]
    LineTooLong {
        /// The most a line may have.
        max: usize,
    },
    /// The server sent something that is not text.
    #[error("not text: {0}")]
    NotText(&'static str),
    /// This kind of connection cannot do that.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The client itself has ended the connection.
    #[error("the connection was cut")]
    Cut,
}

impl From<tokio_tungstenite::tungstenite::Error> for PeerError {
    fn from(error: tokio_tungstenite::tungstenite::Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}
