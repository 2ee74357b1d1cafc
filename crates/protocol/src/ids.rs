//! Names of sessions, people and messages.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// What is wrong with an id, without repeating it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A message id outside its alphabet or length.
    #[error("an id is 1 to 64 characters of A-Z a-z 0-9 _ -")]
    Message,
    /// Text that no resume token looks like.
    #[error("a resume token is 43 characters of base64url")]
    Token,
}

/// A message's id, chosen by the client: the idempotency key within its session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(Box<str>);

impl MessageId {
    /// An id for a message whose client chose none: 96 random bits.
    pub fn random() -> Self {
        let bits: [u8; 12] = rand::random();
        Self(URL_SAFE_NO_PAD.encode(bits).into())
    }

    /// The id as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MessageId {
    type Err = IdError;

    fn from_str(id: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if (1..=64).contains(&id.len()) && id.bytes().all(allowed) {
            Ok(Self(id.into()))
        } else {
            Err(IdError::Message)
        }
    }
}

impl TryFrom<String> for MessageId {
    type Error = IdError;

    fn try_from(id: String) -> Result<Self, IdError> {
        id.parse()
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A session's public name. It identifies and grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// A new name of 128 random bits.
    pub fn random() -> Self {
        let bits: [u8; 16] = rand::random();
        Self(URL_SAFE_NO_PAD.encode(bits).into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SessionId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secret that continues a session: 256 random bits. Stores keep a keyed hash of it
/// only, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken([u8; 32]);

impl ResumeToken {
    /// A new secret.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The secret's bits: to be hashed, never stored.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The secret as its owner gets it, 43 characters of base64url.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl FromStr for ResumeToken {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bits = URL_SAFE_NO_PAD.decode(text).map_err(|_| IdError::Token)?;
        bits.try_into().map(Self).map_err(|_| IdError::Token)
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeToken(..)")
    }
}

/// A person's name in greetings and logs: `Usuario-N`, theirs for the session's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserLabel(pub u64);

impl fmt::Display for UserLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Usuario-{}", self.0)
    }
}

impl Serialize for UserLabel {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UserLabel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.strip_prefix("Usuario-").and_then(|number| number.parse().ok());
        number.map(Self).ok_or_else(|| serde::de::Error::custom("a label is Usuario-N"))
    }
}

/// One message in logs and towards the model: `Usuario-N:mM`, counted from 1 in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageLabel {
    /// Whose message it is.
    pub user: UserLabel,
    /// Which of their messages, from 1.
    pub number: u64,
}

impl fmt::Display for MessageLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:m{}", self.user, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resume_token_round_trips_and_debug_hides_it() {
        let token = ResumeToken::random();
        let again: ResumeToken = token.expose().parse().unwrap();
        assert_eq!(again.as_bytes(), token.as_bytes());
        assert_eq!(format!("{token:?}"), "ResumeToken(..)");
        assert_eq!("x".parse::<ResumeToken>(), Err(IdError::Token));
    }

    #[test]
    fn formats_message_label() {
        let label = MessageLabel { user: UserLabel(3), number: 7 };
        assert_eq!(label.to_string(), "Usuario-3:m7");
    }
}
