//! Events of a session, published between cores. Cores of several versions may run at once: the encoding
//! must stay compatible.

use std::fmt;

use protocol::{Country, Locale, MessageId, ServerFrame};
use serde::{Deserialize, Serialize};

/// Identifier of a core, as the cluster gives it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(u64);

impl CoreId {
    /// Wraps the identifier.
    pub fn new(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Debug for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoreId({:016x})", self.0)
    }
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
    /// The resume token was replaced: connections that were opened with an earlier one close.
    Rotated {
        /// Number of replacements so far.
        rotations: u64,
    },
    /// The session was erased.
    Erased,
}

impl SessionEvent {
    /// Returns the reported number of connections.
    pub fn connections(&self) -> Option<usize> {
        match self {
            Self::Hello { connections } | Self::Here { connections } => Some(*connections),
            Self::Frame(_)
            | Self::Stop { .. }
            | Self::Locale { .. }
            | Self::Country { .. }
            | Self::Rotated { .. }
            | Self::Erased => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::UserText;

    use super::*;

    #[test]
    fn events_round_trip() {
        let id: MessageId = "a".parse().unwrap();
        let delta = ServerFrame::Delta { id: id.clone(), offset: 3, text: UserText::new("¿cómo?"), exercise: None };
        for event in [
            SessionEvent::Hello { connections: 2 },
            SessionEvent::Here { connections: 0 },
            SessionEvent::Frame(Box::new(delta)),
            SessionEvent::Stop { id },
            SessionEvent::Locale { locale: Locale::default() },
            SessionEvent::Country { country: "AR".parse().unwrap() },
            SessionEvent::Rotated { rotations: 2 },
            SessionEvent::Erased,
        ] {
            let payload = serde_json::to_vec(&event).unwrap();
            assert_eq!(serde_json::from_slice::<SessionEvent>(&payload).unwrap(), event);
        }
    }
}
