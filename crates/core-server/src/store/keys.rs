//! Keys of what is stored: texts at rest, and hashes of resume tokens.
//!
//! A text is sealed with XChaCha20-Poly1305, whose nonces are long enough to be random, and is
//! bound to its place: moved to another session or position it does not open.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boot::Secret;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{Key, KeyInit as _, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use protocol::{ResumeToken, UserLabel, UserText};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{EntryPosition, StoreError, Summary};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Bytes of the hash that tells the entries of one message apart.
const TAG_BYTES: usize = 8;

/// Why a data key cannot be used. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a data key is 32 random bytes in base64: openssl rand -base64 32")]
pub struct DataKeyError;

/// Names a data key without telling it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub i64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A key that texts are sealed with.
#[derive(Clone)]
pub struct DataKey {
    id: KeyId,
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.id)
    }
}

impl DataKey {
    /// The key written down in `secret`.
    ///
    /// # Errors
    ///
    /// It is no data key.
    pub fn new(secret: &Secret) -> Result<Self, DataKeyError> {
        let bytes = STANDARD.decode(secret.expose()).map_err(|_| DataKeyError)?;
        let bytes: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| DataKeyError)?;
        let mut id = [0; 8];
        id.copy_from_slice(&keyed_hash(&bytes, b"psicoia data key id")[..8]);
        Ok(Self { id: KeyId(i64::from_be_bytes(id)), cipher: XChaCha20Poly1305::new(&Key::from(bytes)) })
    }
}

/// What is stored of a text or a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key it is under; `None`: it is plain.
    pub key: Option<KeyId>,
    /// A nonce and what it encrypts, or the plain bytes.
    pub bytes: Vec<u8>,
}

/// The data keys: one to write with, if any, and all to read with.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    current: Option<DataKey>,
    previous: Vec<DataKey>,
    /// Tells the entries of one message apart; a database's own.
    entry_tags: [u8; KEY_BYTES],
}

impl Keyring {
    /// Writes under `current`, or plain without it, and also reads what is under `previous`.
    pub fn new(current: Option<DataKey>, previous: Vec<DataKey>) -> Self {
        Self { current, previous, entry_tags: [0; KEY_BYTES] }
    }

    /// The same for the database whose key this is.
    #[must_use]
    pub fn for_database(self, key: &TokenKey) -> Self {
        Self { entry_tags: keyed_hash(&key.0, b"psicoia entry tags"), ..self }
    }

    /// The key that is written with.
    pub fn current_id(&self) -> Option<KeyId> {
        self.current.as_ref().map(|key| key.id)
    }

    /// Seals what the entry at `place` says.
    pub fn seal_entry(&self, place: EntryPosition, bytes: &[u8]) -> Sealed {
        self.seal_bytes(&associated_data(place), bytes)
    }

    /// Opens what the entry at `place` says.
    ///
    /// # Errors
    ///
    /// Its key is not there, or it is not what was sealed for this place.
    pub fn open_entry(&self, place: EntryPosition, sealed: Sealed) -> Result<Vec<u8>, StoreError> {
        let damaged = || StoreError::Damaged(format!("entry {} of {}", place.seq, place.user));
        self.open_bytes(&associated_data(place), sealed)?.ok_or_else(damaged)
    }

    /// Hash of which entry of a message `message` names.
    pub fn entry_tag(&self, message: &[u8]) -> [u8; TAG_BYTES] {
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&keyed_hash(&self.entry_tags, message)[..TAG_BYTES]);
        tag
    }

    /// Seals the text of `user`'s `summary`.
    pub fn seal_summary(&self, user: UserLabel, summary: &Summary) -> Sealed {
        self.seal_bytes(&summary_associated_data(user, summary.first, summary.last), summary.text.expose().as_bytes())
    }

    /// Opens the text of `user`'s summary of the messages from `first` to `last`.
    ///
    /// # Errors
    ///
    /// Its key is not there, or it is not what was sealed for this place.
    pub fn open_summary(&self, user: UserLabel, first: u64, last: u64, sealed: Sealed) -> Result<Summary, StoreError> {
        let damaged = || StoreError::Damaged(format!("the summary of {user}"));
        let bytes = self.open_bytes(&summary_associated_data(user, first, last), sealed)?.ok_or_else(damaged)?;
        let text = String::from_utf8(bytes).map(UserText::new).map_err(|_| damaged())?;
        Ok(Summary { first, last, text })
    }

    fn seal_bytes(&self, associated_data: &[u8], bytes: &[u8]) -> Sealed {
        let Some(key) = &self.current else { return Sealed { key: None, bytes: bytes.to_vec() } };
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let sealed = key
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: bytes, aad: associated_data })
            .expect("a message is far below the cipher's limit of 256 GiB");
        Sealed { key: Some(key.id), bytes: [&nonce[..], &sealed].concat() }
    }

    /// `None` when it does not open under its key.
    fn open_bytes(&self, associated_data: &[u8], sealed: Sealed) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(id) = sealed.key else { return Ok(Some(sealed.bytes)) };
        let known = self.current.iter().chain(&self.previous).find(|key| key.id == id);
        let key = known.ok_or(StoreError::UnknownKey(id))?;
        let Some((nonce, bytes)) = sealed.bytes.split_first_chunk::<NONCE_BYTES>() else { return Ok(None) };
        Ok(key.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: bytes, aad: associated_data }).ok())
    }
}

/// The associated data of an entry: a session's number is never given twice in a database.
fn associated_data(place: EntryPosition) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&place.user.0.to_be_bytes());
    bytes[8..].copy_from_slice(&place.seq.to_be_bytes());
    bytes
}

/// The associated data of a summary; longer than an entry's, so that neither opens as the other.
fn summary_associated_data(user: UserLabel, first: u64, last: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    for (part, number) in bytes.chunks_exact_mut(8).zip([user.0, first, last]) {
        part.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

/// Hashes resume tokens. Made at random for each database and kept in it, sealed like a text,
/// so that a hash found elsewhere says nothing about this database, nor the other way round.
#[derive(Clone)]
pub struct TokenKey([u8; KEY_BYTES]);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

impl TokenKey {
    const ASSOCIATED_DATA: &[u8] = b"psicoia token key";

    /// A new key.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// What is stored of the key itself.
    pub fn seal(&self, keys: &Keyring) -> Sealed {
        keys.seal_bytes(Self::ASSOCIATED_DATA, &self.0)
    }

    /// Reads a stored key.
    ///
    /// # Errors
    ///
    /// It is under a key that is not configured, or damaged.
    pub fn open(keys: &Keyring, sealed: Sealed) -> Result<Self, StoreError> {
        let bytes = keys.open_bytes(Self::ASSOCIATED_DATA, sealed)?.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| StoreError::Damaged("the key of the resume tokens".to_owned()))
    }

    /// What is stored of `token`: finds the session and cannot be turned back.
    pub fn hash(&self, token: &ResumeToken) -> TokenHash {
        TokenHash(keyed_hash(&self.0, token.as_bytes()))
    }
}

/// A keyed hash of a resume token.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `stored` is this hash, in a time that does not depend on where they differ.
    pub fn matches(&self, stored: &[u8]) -> bool {
        self.0.as_slice().ct_eq(stored).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// HMAC-SHA-256.
fn keyed_hash(key: &[u8; KEY_BYTES], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}
