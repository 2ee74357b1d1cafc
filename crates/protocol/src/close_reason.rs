//! Why a connection ended.

use std::fmt;

/// Why a connection ended; each one ends with exactly one of these.
///
/// The core sends the name in its closing line to a gateway that asked for it
/// (`proto-line/SPEC.md` §8), and both services log and count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The person said good-bye: `bye`, `salir`.
    Bye,
    /// The session was erased.
    Erased,
    /// The server is going away.
    Draining,
    /// Nothing came for `IDLE_SECONDS`.
    Idle,
    /// The peer reads more slowly than its answers come.
    SlowConsumer,
    /// The peer did not finish its greeting (PROXY header, hello) in time.
    HandshakeTimeout,
    /// The peer is not who it says, or may not be here.
    Unauthorized,
    /// The peer speaks another version of the protocol, or another protocol.
    VersionUnsupported,
    /// There is no room for one more connection.
    TooManyConnections,
    /// The peer closed its connection, or its sending side and then got all its answers, or lost it.
    ClientGone,
    /// A defect on our side.
    Internal,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Bye,
        Self::Erased,
        Self::Draining,
        Self::Idle,
        Self::SlowConsumer,
        Self::HandshakeTimeout,
        Self::Unauthorized,
        Self::VersionUnsupported,
        Self::TooManyConnections,
        Self::ClientGone,
        Self::Internal,
    ];

    /// Its name on the wire, in logs and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bye => "bye",
            Self::Erased => "erased",
            Self::Draining => "draining",
            Self::Idle => "idle",
            Self::SlowConsumer => "slow_consumer",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Unauthorized => "unauthorized",
            Self::VersionUnsupported => "version_unsupported",
            Self::TooManyConnections => "too_many_connections",
            Self::ClientGone => "client_gone",
            Self::Internal => "internal",
        }
    }

    /// The reason called `name`, if there is one.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name().as_bytes() == name)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
