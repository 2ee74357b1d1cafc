//! Members of JSON values, each as its own text, so that one which cannot be read spoils no other.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The bytes that a value was read from. They need not be UTF-8: the strings in them may hold parts of characters.
pub(super) struct Source<'a> {
    bytes: &'a [u8],
    /// As long as `bytes`, byte by byte, with a `?` for each that is not UTF-8.
    text: Cow<'a, str>,
}

impl<'a> Source<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(masked(bytes)),
        };
        Self { bytes, text }
    }

    /// The text to read values from.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// `value`, which was read from this source, if it is a string: its bytes, with lone surrogates as in WTF-8.
    pub(super) fn bytes(&self, value: &RawValue) -> Option<Vec<u8>> {
        // The value is a part of the text, and begins as far behind the text's start as its bytes behind theirs.
        let at = value.get().as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        let bytes = self.bytes.get(at..at.checked_add(value.get().len())?)?;
        if !bytes.starts_with(b"\"") {
            return None;
        }
        serde_json::Deserializer::from_slice(bytes).deserialize_bytes(StringBytes).ok()
    }

    /// `value` if it is a string, with U+FFFD for what is no character.
    pub(super) fn string(&self, value: &RawValue) -> Option<String> {
        self.bytes(value).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// `bytes` with a `?` for each that is not UTF-8.
fn masked(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// The members of `value` with these names, those that are `null` left out; `None` if it is no object.
pub(super) fn named<'a, const N: usize>(value: &'a RawValue, names: [&str; N]) -> Option<[Option<&'a RawValue>; N]> {
    if !value.get().starts_with('{') {
        return None;
    }
    serde_json::Deserializer::from_str(value.get()).deserialize_map(Named(names)).ok()
}

/// The elements of `value`; `None` if it is no list.
pub(super) fn elements(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// Takes the members of these names. Of two of the same name, the last counts.
struct Named<'n, const N: usize>([&'n str; N]);

impl<'a, const N: usize> Visitor<'a> for Named<'_, N> {
    type Value = [Option<&'a RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = [None; N];
        while let Some(place) = map.next_key_seed(Place(&self.0))? {
            match place.and_then(|place| members.get_mut(place)) {
                Some(member) => *member = map.next_value::<Option<&RawValue>>()?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members)
    }
}

/// Reads a name as its place among these.
struct Place<'n>(&'n [&'n str]);

impl<'a> DeserializeSeed<'a> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // As bytes: a name with half a character is just one that is not wanted.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| wanted.as_bytes() == name))
    }
}

/// Reads a string as its bytes.
struct StringBytes;

impl Visitor<'_> for StringBytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(bytes.to_vec())
    }
}
