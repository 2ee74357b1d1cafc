//! What cores tell each other about a session.

use protocol::{Country, Locale, MessageId, ServerFrame};
use serde::{Deserialize, Serialize};

use super::CoreId;

/// An event, and who tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The core that tells it.
    pub core: CoreId,
    /// What it tells.
    pub event: SessionEvent,
}

/// Something that concerns the other cores on which a session is live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionEvent {
    /// The session is live here too, with so many connections. To be answered by `Here`, and by
    /// the answer under way so far.
    Hello {
        /// Connections of the session on that core.
        connections: usize,
    },
    /// How many connections the session has here.
    Here {
        /// Connections of the session on that core.
        connections: usize,
    },
    /// What connections of the session are told.
    Frame(Box<ServerFrame>),
    /// Whoever answers this message is to stop.
    Stop {
        /// The message.
        id: MessageId,
    },
    /// The session answers in another language from now on.
    Locale {
        /// The new one.
        locale: Locale,
    },
    /// The person is in another country than was known.
    Country {
        /// The new one.
        country: Country,
    },
    /// Everything there was of the session is gone.
    Erased,
}

impl SessionEvent {
    /// How many connections it says there are.
    pub fn connections(&self) -> Option<usize> {
        match self {
            Self::Hello { connections } | Self::Here { connections } => Some(*connections),
            Self::Frame(_) | Self::Stop { .. } | Self::Locale { .. } | Self::Country { .. } | Self::Erased => None,
        }
    }
}

impl Envelope {
    /// As bytes for the channel.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Neither maps with other keys than strings nor types that can fail to serialize.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what came over the channel.
    ///
    /// # Errors
    ///
    /// It is none: a core of another version told it, or no core at all. The error repeats no text.
    pub fn decode(payload: &[u8]) -> Result<Self, MalformedEvent> {
        serde_json::from_slice(payload).map_err(|error| MalformedEvent { column: error.column() })
    }
}

/// Bytes that are no event.
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
    fn there_and_back() {
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
