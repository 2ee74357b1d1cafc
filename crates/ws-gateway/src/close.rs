//! Close causes of a connection and their WebSocket close codes (`proto-line/SPEC.md` §6).

use std::fmt;

use protocol::CloseReason;
use tungstenite::Error;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

/// Cause of a WebSocket's end; each connection has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCause {
    /// A reason from the shared contract, received from the core or found here.
    Known(CloseReason),
    /// A message exceeds the line limit.
    TooBig,
    /// A binary message; no face has any.
    BinaryRefused,
    /// A text message that is not UTF-8.
    InvalidUtf8,
    /// A violation of RFC 6455 by the client.
    ProtocolError,
    /// The core's connection ended without a closing line.
    CoreLost,
    /// No core accepted a connection.
    CoreUnreachable,
}

impl CloseCause {
    /// All causes.
    pub const ALL: [Self; CloseReason::ALL.len() + 6] = {
        let others = [
            Self::TooBig,
            Self::BinaryRefused,
            Self::InvalidUtf8,
            Self::ProtocolError,
            Self::CoreLost,
            Self::CoreUnreachable,
        ];
        let mut all = [Self::TooBig; CloseReason::ALL.len() + 6];
        let mut index = 0;
        while index < all.len() {
            all[index] =
                if index < others.len() { others[index] } else { Self::Known(CloseReason::ALL[index - others.len()]) };
            index += 1;
        }
        all
    };

    /// Returns the name used in the close frame, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Known(reason) => reason.name(),
            Self::TooBig => "too_big",
            Self::BinaryRefused => "binary_refused",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::ProtocolError => "protocol_error",
            Self::CoreLost => "core_lost",
            Self::CoreUnreachable => "core_unreachable",
        }
    }

    /// Returns the WebSocket close code.
    pub fn code(self) -> u16 {
        match self {
            Self::Known(reason) => known_code(reason),
            Self::ProtocolError => 1002,
            Self::BinaryRefused => 1003,
            Self::InvalidUtf8 => 1007,
            Self::TooBig => 1009,
            Self::CoreLost => 1012,
            Self::CoreUnreachable => 1013,
        }
    }

    /// Returns true if the client's bytes can no longer be parsed as frames, so that its close frame must not be
    /// awaited.
    pub(crate) fn breaks_framing(self) -> bool {
        matches!(self, Self::TooBig | Self::InvalidUtf8 | Self::ProtocolError)
    }

    pub(crate) fn frame(self) -> CloseFrame {
        CloseFrame { code: CloseCode::from(self.code()), reason: self.name().into() }
    }
}

fn known_code(reason: CloseReason) -> u16 {
    match reason {
        CloseReason::Bye | CloseReason::Erased | CloseReason::ClientGone => 1000,
        CloseReason::Draining => 1001,
        CloseReason::Unauthorized | CloseReason::VersionUnsupported => 1008,
        CloseReason::BadHeader | CloseReason::Internal => 1011,
        CloseReason::TooManyConnections => 1013,
        CloseReason::SlowConsumer => 4008,
        CloseReason::Idle => 4009,
        CloseReason::HandshakeTimeout | CloseReason::LateHeader => 4010,
        CloseReason::Revoked => 4011,
    }
}

impl fmt::Display for CloseCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<CloseReason> for CloseCause {
    fn from(reason: CloseReason) -> Self {
        Self::Known(reason)
    }
}

/// Maps a WebSocket error of the client to the connection's close cause.
impl From<Error> for CloseCause {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(_) => Self::TooBig,
            Error::Utf8(_) => Self::InvalidUtf8,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
            | Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Io(_) => Self::Known(CloseReason::ClientGone),
            Error::Protocol(_) => Self::ProtocolError,
            // The remaining variants belong to clients, TLS and handshakes, which tungstenite does not perform here.
            _ => Self::Known(CloseReason::Internal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads name and WebSocket code of every row of `proto-line/closes.json`.
    fn contract() -> Vec<(String, u16)> {
        let rows: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../../proto-line/closes.json")).unwrap();
        let code = |row: &serde_json::Value| row["websocket"].as_u64().map_or(1000, |code| code.try_into().unwrap());
        rows.iter().map(|row| (row["name"].as_str().unwrap().to_owned(), code(row))).collect()
    }

    #[test]
    fn names_and_codes_match_the_contract() {
        let mut sent: Vec<_> = CloseCause::ALL.iter().map(|cause| (cause.name().to_owned(), cause.code())).collect();
        let mut contract = contract();
        sent.sort();
        contract.sort();
        assert_eq!(sent, contract);
    }

    #[test]
    fn every_code_is_sendable() {
        for cause in CloseCause::ALL {
            assert!(cause.frame().code.is_allowed(), "{cause}");
            assert!(cause.name().len() <= 123, "{cause} does not fit a close frame");
        }
    }
}
