//! Session events published between cores. Cores of several versions may run at once: the encoding
//! must stay compatible.

use std::fmt;

use protocol::{Country, Locale, MessageId, ServerFrame};
use serde::{Deserialize, Serialize};

/// Random identifier of a core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(u64);

impl CoreId {
    /// Returns a new identifier.
    pub fn random() -> Self {
        Self(fastrand::u64(..))
    }
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoreId({self})")
    }
}

/// Event with its sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Sender.
    pub core: CoreId,
    /// The event.
    pub event: SessionEvent,
}

/// Event of a session, published to the other cores on which it is live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEvent {
    /// The session has become live on the sender. Receivers reply with `Here` and with the answer being
    /// streamed so far.
    Hello {
        /// Connections of the session on that core.
        connections: usize,
    },
    /// Number of connections of the session on the sender.
    Here {
        /// Connections of the session on that core.
        connections: usize,
    },
    /// A frame for every connection of the session.
    Frame(Box<ServerFrame>),
    /// Stops the answer to a message.
    Stop {
        /// The message.
        id: MessageId,
    },
    /// The session's language has changed.
    Locale {
        /// The new one.
        locale: Locale,
    },
    /// The session's country has changed.
    Country {
        /// The new one.
        country: Country,
    },
    /// The session was erased.
    Erased,
}

impl SessionEvent {
    /// Returns the reported number of connections.
    pub fn connections(&self) -> Option<usize> {
        match self {
            Self::Hello { connections } | Self::Here { connections } => Some(*connections),
            Self::Frame(_) | Self::Stop { .. } | Self::Locale { .. } | Self::Country { .. } | Self::Erased => None,
        }
    }
}

impl Envelope {
    /// Encodes as JSON.
    pub fn encode(&self) -> Vec<u8> {
        // Cannot fail: every map key is a string, and no type has a fallible `Serialize`.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Decodes a published payload.
    ///
    /// # Errors
    ///
    /// The payload is no event: its sender has another version or is no core. The error must not repeat
    /// text of people, so it has the position alone.
    pub fn decode(payload: &[u8]) -> Result<Self, MalformedEvent> {
        serde_json::from_slice(payload).map_err(|error| MalformedEvent { column: error.column() })
    }
}

/// Payload that is no event of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no event of this version, from byte {column} on")]
pub struct MalformedEvent {
    column: usize,
}

impl Serialize for CoreId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CoreId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use protocol::UserText;

    use super::*;

    #[test]
    fn events_round_trip_and_errors_repeat_no_text() {
        let id: MessageId = "a".parse().unwrap();
        let delta = ServerFrame::Delta { id: id.clone(), offset: 3, text: UserText::new("¿cómo?"), exercise: None };
        for event in [
            SessionEvent::Hello { connections: 2 },
            SessionEvent::Here { connections: 0 },
            SessionEvent::Frame(Box::new(delta)),
            SessionEvent::Stop { id },
            SessionEvent::Locale { locale: Locale::default() },
            SessionEvent::Country { country: "AR".parse().unwrap() },
            SessionEvent::Erased,
        ] {
            let envelope = Envelope { core: CoreId::random(), event };
            assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        }
        let bad = Envelope::decode(br#"{"core":"1f","event":{"sung":"secret"}}"#).unwrap_err();
        assert!(!bad.to_string().contains("secret"));
    }
}
