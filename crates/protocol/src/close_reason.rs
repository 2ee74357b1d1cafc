//! Close reasons.

use std::fmt;

/// Reason for the end of a connection; each has exactly one.
///
/// The core sends the name in its closing line to a gateway that announced TLV `0xE2` (`proto-line/SPEC.md` §8), and
/// both services log and count it.
///
/// ```
/// use protocol::CloseReason;
///
/// assert_eq!(CloseReason::from_name(b"idle"), Some(CloseReason::Idle));
/// assert_eq!(CloseReason::SlowConsumer.to_string(), "slow_consumer");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client sent `bye`, or the person wrote `salir`.
    Bye,
    /// The session was erased.
    Erased,
    /// Another connection has replaced the session's resume token (`rotate_resume`).
    Revoked,
    /// The server is shutting down.
    Draining,
    /// The idle timeout (`IDLE_SECONDS`) passed.
    Idle,
    /// The peer reads more slowly than its answers arrive.
    SlowConsumer,
    /// The peer did not finish its handshake (PROXY header, TLS, `hello`) in time.
    HandshakeTimeout,
    /// The PROXY header of a trusted peer came after the greeting delay; no line behind it was read.
    LateHeader,
    /// The PROXY header of a trusted peer is malformed, or out of place.
    BadHeader,
    /// The peer is not authenticated, or not authorized.
    Unauthorized,
    /// The peer speaks another version of the protocol, or another protocol.
    VersionUnsupported,
    /// The limit on connections is reached.
    TooManyConnections,
    /// The peer closed or lost its connection, or closed its sending side and got all its answers.
    ClientGone,
    /// A defect on our side.
    Internal,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 14] = [
        Self::Bye,
        Self::Erased,
        Self::Revoked,
        Self::Draining,
        Self::Idle,
        Self::SlowConsumer,
        Self::HandshakeTimeout,
        Self::LateHeader,
        Self::BadHeader,
        Self::Unauthorized,
        Self::VersionUnsupported,
        Self::TooManyConnections,
        Self::ClientGone,
        Self::Internal,
    ];

    /// Returns its name on the wire, in logs and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bye => "bye",
            Self::Erased => "erased",
            Self::Revoked => "revoked",
            Self::Draining => "draining",
            Self::Idle => "idle",
            Self::SlowConsumer => "slow_consumer",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::LateHeader => "late_header",
            Self::BadHeader => "bad_header",
            Self::Unauthorized => "unauthorized",
            Self::VersionUnsupported => "version_unsupported",
            Self::TooManyConnections => "too_many_connections",
            Self::ClientGone => "client_gone",
            Self::Internal => "internal",
        }
    }

    /// Returns the reason called `name`, if there is one.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name().as_bytes() == name)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
