//! Envelope of published events. Cores of several versions may run at once: the encoding must stay compatible.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::core_id::CoreId;

/// Event with its sender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope<E> {
    /// Sender.
    pub core: CoreId,
    /// The event.
    pub event: E,
}

impl<E: Serialize> Envelope<E> {
    /// Encodes as JSON.
    pub fn encode(&self) -> Vec<u8> {
        // Cannot fail: every map key is a string, and no type has a fallible `Serialize`.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl<E: DeserializeOwned> Envelope<E> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_repeat_no_text() {
        let envelope = Envelope { core: CoreId::random(), event: 7 };
        assert_eq!(Envelope::<u8>::decode(&envelope.encode()), Ok(envelope));
        let bad = Envelope::<u8>::decode(br#"{"core":"1f","event":{"sung":"secret"}}"#).unwrap_err();
        assert!(!bad.to_string().contains("secret"));
    }
}
