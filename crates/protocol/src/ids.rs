//! Ids and labels of sessions, people and messages.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Error of an id; it does not repeat the id, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A message id outside of its alphabet or length.
    #[error("an id is 1 to 64 characters of A-Z a-z 0-9 _ -")]
    Message,
    /// A malformed resume token.
    #[error("a resume token is 43 characters of base64url")]
    Token,
    /// A malformed code for another device.
    #[error("a code is 12 digits and letters")]
    LinkCode,
}

/// Message id, chosen by the client: the idempotency key within its session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(Box<str>);

impl MessageId {
    /// Returns a new id of 96 random bits, for a message of the plain face.
    pub fn random() -> Self {
        let bits: [u8; 12] = rand::random();
        Self(URL_SAFE_NO_PAD.encode(bits).into())
    }

    /// Returns the id as received.
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

/// Public id of a session. It grants no access.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// Returns a new id of 128 random bits.
    pub fn random() -> Self {
        let bits: [u8; 16] = rand::random();
        Self(URL_SAFE_NO_PAD.encode(bits).into())
    }

    /// Returns the id as text.
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

/// Secret that resumes a session: 256 random bits. Stores keep only an HMAC of it, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken([u8; 32]);

impl ResumeToken {
    /// Returns a new secret.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Returns the secret's bits: to be hashed, never stored.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the secret as the client gets it, 43 characters of base64url.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl From<[u8; 32]> for ResumeToken {
    fn from(bits: [u8; 32]) -> Self {
        Self(bits)
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

/// Characters of a [`LinkCode`]: 60 bits.
const LINK_CODE_CHARS: usize = 12;
/// Digits and letters without `I`, `L`, `O` and `U`, which are misread (Crockford's base 32).
const LINK_CODE_ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Code that opens a session on another device once: 60 random bits that a person can type. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkCode([u8; LINK_CODE_CHARS]);

impl LinkCode {
    /// Returns a new code.
    pub fn random() -> Self {
        let bytes: [u8; LINK_CODE_CHARS] = rand::random();
        Self(bytes.map(|byte| LINK_CODE_ALPHABET[usize::from(byte & 31)]))
    }

    /// Returns the characters of the code: to be hashed, never stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the code as the person reads it: `K7QM-2XTB-9RWD`.
    pub fn expose(&self) -> String {
        let groups: Vec<_> = self.0.chunks(4).map(String::from_utf8_lossy).collect();
        groups.join("-")
    }
}

impl FromStr for LinkCode {
    type Err = IdError;

    /// Parses a code as a person types it: in any case, with spaces and dashes anywhere, `O` for 0 and `I` or `L` for 1.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let typed = text.chars().filter(|letter| !letter.is_whitespace() && !matches!(letter, '-' | '–' | '—' | '‐'));
        let meant = typed.map(|letter| match letter.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            letter => letter,
        });
        let known = meant.map(|letter| u8::try_from(letter).ok().filter(|byte| LINK_CODE_ALPHABET.contains(byte)));
        let code = known.collect::<Option<Vec<u8>>>().ok_or(IdError::LinkCode)?;
        code.try_into().map(Self).map_err(|_| IdError::LinkCode)
    }
}

impl fmt::Debug for LinkCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkCode(..)")
    }
}

/// Secret in `hello.resume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResumeSecret {
    /// The token of an earlier `welcome`.
    Token(ResumeToken),
    /// A code that another device has shown.
    Code(LinkCode),
}

impl FromStr for ResumeSecret {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        // Their lengths differ: no text is both.
        text.parse().map(Self::Token).or_else(|_| text.parse().map(Self::Code)).map_err(|_| IdError::Token)
    }
}

/// A person's label in greetings and logs: `Usuario-N`, the same for the session's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserLabel(pub u64);

impl UserLabel {
    /// Beginning of every label, and so of every greeting; no other line of the server begins with it.
    pub const PREFIX: &str = "Usuario-";
    /// First label of sessions that are not stored. Databases count from 1 and never come near it.
    pub const FIRST_UNKEPT: Self = Self(1 << 40);

    /// Returns true if the session of this label is stored.
    pub fn is_kept(self) -> bool {
        self < Self::FIRST_UNKEPT
    }
}

impl fmt::Display for UserLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0)
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
        let number = text.strip_prefix(Self::PREFIX).and_then(|number| number.parse().ok());
        number.map(Self).ok_or_else(|| serde::de::Error::custom("a label is Usuario-N"))
    }
}

/// A message's label in logs and requests to the model: `Usuario-N:mM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageLabel {
    /// Label of its author.
    pub user: UserLabel,
    /// Number of the message in its session, from 1.
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
    fn link_code_is_read_as_people_type_it() {
        let code: LinkCode = "K7QM-2XTB-9R01".parse().unwrap();
        for typed in ["k7qm2xtb9r01", " k7qm 2xtb 9r01 ", "K7QM–2XTB–9RoI", "k-7-q-m-2-x-t-b-9-r-0-l"] {
            assert_eq!(typed.parse::<LinkCode>(), Ok(code.clone()), "{typed}");
            assert_eq!(typed.parse(), Ok(ResumeSecret::Code(code.clone())), "{typed}");
        }
        for typed in ["", "K7QM-2XTB-9R0", "K7QM-2XTB-9R011", "K7QM-2XTB-9R0U", "K7QM-2XTB-9R0ñ"] {
            assert_eq!(typed.parse::<LinkCode>(), Err(IdError::LinkCode), "{typed}");
        }
        let random = LinkCode::random();
        assert_eq!(random.expose().parse(), Ok(random.clone()));
        assert_ne!(random, LinkCode::random());
        assert_eq!((code.expose().as_str(), format!("{code:?}").as_str()), ("K7QM-2XTB-9R01", "LinkCode(..)"));
        let token = ResumeToken::random();
        assert_eq!(token.expose().parse(), Ok(ResumeSecret::Token(token)));
    }

    #[test]
    fn formats_message_label() {
        let label = MessageLabel { user: UserLabel(3), number: 7 };
        assert_eq!(label.to_string(), "Usuario-3:m7");
    }
}
