//! Encryption at rest, and keyed hashes of resume tokens.
//!
//! Texts are sealed with XChaCha20-Poly1305, whose 192-bit nonces may be random. The position is
//! associated data: a text that was moved to another session or position does not open.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{Key, KeyInit as _, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use protocol::{LinkCode, ResumeToken, UserLabel, UserText};
use service_runtime::Secret;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

pub use super::key_id::KeyId;

use super::error::StoreError;
use super::model::{EntryPosition, Summary};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Bytes of an entry's tag, see [`Keyring::entry_tag`].
const TAG_BYTES: usize = 8;

/// Error for a malformed data key. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a data key is 32 random bytes in base64: openssl rand -base64 32")]
pub struct DataKeyError;

/// Data key, with which texts are sealed.
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
    /// Decodes a key of 32 bytes in base64.
    ///
    /// # Errors
    ///
    /// The secret is no data key.
    pub fn new(secret: &Secret) -> Result<Self, DataKeyError> {
        let bytes = STANDARD.decode(secret.expose()).map_err(|_| DataKeyError)?;
        let bytes: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| DataKeyError)?;
        let mut id = [0; 8];
        id.copy_from_slice(&keyed_hash(&bytes, b"psicoia data key id")[..8]);
        Ok(Self { id: KeyId(i64::from_be_bytes(id)), cipher: XChaCha20Poly1305::new(&Key::from(bytes)) })
    }
}

/// Stored form of a text or a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Key that sealed it; `None` for plain bytes.
    pub key: Option<KeyId>,
    /// Nonce and ciphertext, or the plain bytes.
    pub bytes: Vec<u8>,
}

/// Data keys: at most one for writing, and all for reading.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    current: Option<DataKey>,
    previous: Vec<DataKey>,
    /// Key of the entry tags, specific to the database.
    entry_tags: [u8; KEY_BYTES],
}

impl Keyring {
    /// Writes under `current`, or plain without it; reads under `current` and `previous`.
    pub fn new(current: Option<DataKey>, previous: Vec<DataKey>) -> Self {
        Self { current, previous, entry_tags: [0; KEY_BYTES] }
    }

    /// Returns the keyring for the database that has this token key.
    #[must_use]
    pub fn for_database(self, key: &TokenKey) -> Self {
        Self { entry_tags: keyed_hash(&key.0, b"psicoia entry tags"), ..self }
    }

    /// Returns the key for writing.
    pub fn current_id(&self) -> Option<KeyId> {
        self.current.as_ref().map(|key| key.id)
    }

    /// Seals the content of the entry at `position`.
    pub fn seal_entry(&self, position: EntryPosition, bytes: &[u8]) -> Sealed {
        self.seal_bytes(&associated_data(position), bytes)
    }

    /// Opens the content of the entry at `position`.
    ///
    /// # Errors
    ///
    /// Its key is not configured, or it is damaged or was sealed for another position.
    pub fn open_entry(&self, position: EntryPosition, sealed: Sealed) -> Result<Vec<u8>, StoreError> {
        let damaged = || StoreError::Damaged(format!("entry {} of {}", position.seq, position.user));
        self.open_bytes(&associated_data(position), sealed)?.ok_or_else(damaged)
    }

    /// Keyed hash of `message`, which identifies an entry among those of its message.
    pub fn entry_tag(&self, message: &[u8]) -> [u8; TAG_BYTES] {
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&keyed_hash(&self.entry_tags, message)[..TAG_BYTES]);
        tag
    }

    /// Seals the text of a summary of `user`.
    pub fn seal_summary(&self, user: UserLabel, summary: &Summary) -> Sealed {
        self.seal_bytes(&summary_associated_data(user, summary.first, summary.last), summary.text.expose().as_bytes())
    }

    /// Opens the summary of the messages of `user` from `first` to `last`.
    ///
    /// # Errors
    ///
    /// Its key is not configured, or it is damaged or was sealed for another range or session.
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

    /// Returns `None` if authentication under its key fails.
    fn open_bytes(&self, associated_data: &[u8], sealed: Sealed) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(id) = sealed.key else { return Ok(Some(sealed.bytes)) };
        let known = self.current.iter().chain(&self.previous).find(|key| key.id == id);
        let key = known.ok_or(StoreError::UnknownKey(id))?;
        let Some((nonce, bytes)) = sealed.bytes.split_first_chunk::<NONCE_BYTES>() else { return Ok(None) };
        Ok(key.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: bytes, aad: associated_data }).ok())
    }
}

/// Associated data of an entry. Labels are never reused, so a position is unique for ever.
fn associated_data(position: EntryPosition) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&position.user.0.to_be_bytes());
    bytes[8..].copy_from_slice(&position.seq.to_be_bytes());
    bytes
}

/// Associated data of a summary. Its length must differ from an entry's, so that neither opens as the other.
fn summary_associated_data(user: UserLabel, first: u64, last: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    for (part, number) in bytes.chunks_exact_mut(8).zip([user.0, first, last]) {
        part.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

/// Key of the token hashes. Random for each database and stored in it, sealed like a text: hashes of two
/// databases cannot be correlated.
#[derive(Clone)]
pub struct TokenKey([u8; KEY_BYTES]);

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

impl TokenKey {
    const ASSOCIATED_DATA: &[u8] = b"psicoia token key";
    const LINK_ASSOCIATED_DATA: &[u8] = b"psicoia link";

    /// Generates a key.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Seals the key for storage.
    pub fn seal(&self, keys: &Keyring) -> Sealed {
        keys.seal_bytes(Self::ASSOCIATED_DATA, &self.0)
    }

    /// Opens the stored key.
    ///
    /// # Errors
    ///
    /// Its data key is not configured, or it is damaged.
    pub fn open(keys: &Keyring, sealed: Sealed) -> Result<Self, StoreError> {
        let bytes = keys.open_bytes(Self::ASSOCIATED_DATA, sealed)?.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| StoreError::Damaged("the key of the resume tokens".to_owned()))
    }

    /// Returns the stored hash of a token: it finds the session and cannot be inverted.
    pub fn hash(&self, token: &ResumeToken) -> TokenHash {
        TokenHash(keyed_hash(&self.0, token.as_bytes()))
    }

    /// Returns the stored hash of a code for another device.
    pub fn link_hash(&self, code: &LinkCode) -> TokenHash {
        TokenHash(keyed_hash(&self.0, &[b"psicoia link code ", code.as_bytes()].concat()))
    }

    /// Seals the token that `code` opens: neither the database nor its data key can open it without the code.
    pub fn seal_link(&self, code: &LinkCode, token: &ResumeToken) -> Vec<u8> {
        self.link_keys(code).seal_bytes(Self::LINK_ASSOCIATED_DATA, token.as_bytes()).bytes
    }

    /// Opens a token that [`TokenKey::seal_link`] has sealed.
    ///
    /// # Errors
    ///
    /// It is damaged.
    pub fn open_link(&self, code: &LinkCode, bytes: Vec<u8>) -> Result<ResumeToken, StoreError> {
        let keys = self.link_keys(code);
        let opened = keys.open_bytes(Self::LINK_ASSOCIATED_DATA, Sealed { key: keys.current_id(), bytes })?;
        let bytes: Option<[u8; KEY_BYTES]> = opened.and_then(|bytes| bytes.try_into().ok());
        bytes.map(ResumeToken::from).ok_or_else(|| StoreError::Damaged("the token of a code".to_owned()))
    }

    fn link_keys(&self, code: &LinkCode) -> Keyring {
        let key = keyed_hash(&self.0, &[b"psicoia link key ", code.as_bytes()].concat());
        Keyring::new(Some(DataKey { id: KeyId(0), cipher: XChaCha20Poly1305::new(&Key::from(key)) }), Vec::new())
    }
}

/// Keyed hash of a resume token, or of a code for another device.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Returns the bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares in constant time.
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
