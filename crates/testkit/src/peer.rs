//! Common interface of the line and WebSocket clients.

use std::fmt;
use std::io;

use protocol::CloseReason;

/// Client side of a connection.
pub trait Peer {
    /// Sends one line, given without its line ending.
    fn send_line(&mut self, line: &str) -> impl Future<Output = Result<(), PeerError>>;

    /// Returns the next line without its ending; `None` once the server has closed.
    ///
    /// # Cancel safety
    ///
    /// Safe: dropping the future loses nothing.
    fn next_line(&mut self) -> impl Future<Output = Result<Option<String>, PeerError>>;

    /// Shuts down the write half.
    fn half_close(&mut self) -> impl Future<Output = Result<(), PeerError>>;

    /// Drops the connection without a closing handshake.
    fn cut(&mut self);

    /// Returns the end of the connection as seen by this client; `None` while it is open.
    fn ending(&self) -> Option<ConnectionEnd>;
}

/// End of a connection as seen by a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// Reason of a closing line, or of the server itself.
    Reason(CloseReason),
    /// A WebSocket close code.
    WebSocket(u16),
    /// End of the stream without a reason.
    Unexplained,
    /// A reset, or the end of a WebSocket without a close frame.
    Broken,
}

impl ConnectionEnd {
    /// Returns true if a connection closed for `reason` may look like this.
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

/// WebSocket code of a reason (`proto-line/SPEC.md` §6). Deliberately duplicated, as a check of the gateway's own
/// table.
fn close_code(reason: CloseReason) -> Option<u16> {
    match reason {
        CloseReason::Bye | CloseReason::Erased => Some(1000),
        CloseReason::Draining => Some(1001),
        CloseReason::Unauthorized | CloseReason::VersionUnsupported => Some(1008),
        CloseReason::BadHeader | CloseReason::Internal => Some(1011),
        CloseReason::TooManyConnections => Some(1013),
        CloseReason::SlowConsumer => Some(4008),
        CloseReason::Idle => Some(4009),
        CloseReason::HandshakeTimeout | CloseReason::LateHeader => Some(4010),
        CloseReason::Revoked => Some(4011),
        CloseReason::ClientGone => None,
    }
}

/// Failure of a client.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The connection failed.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// The WebSocket failed. Boxed, because it is many times the size of the other variants.
    #[error("WebSocket: {0}")]
    WebSocket(Box<tokio_tungstenite::tungstenite::Error>),
    /// The server's line exceeds the limit.
    #[error("a line of more than {max} bytes")]
    LineTooLong {
        /// Maximum length of a line, in bytes.
        max: usize,
    },
    /// The server sent something other than text.
    #[error("not text: {0}")]
    NotText(&'static str),
    /// The transport does not support the operation.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The client has cut the connection.
    #[error("the connection was cut")]
    Cut,
}

impl From<tokio_tungstenite::tungstenite::Error> for PeerError {
    fn from(error: tokio_tungstenite::tungstenite::Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}
